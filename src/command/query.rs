//! `query`: SQL over the tables of the project.

use std::io::stdout;

use cafe_pipeline::query::{self, QueryError, QuerySource, run_sql};

use crate::cli::{Format, QueryArgs};
use crate::failure::Failure;
use crate::project;

pub(super) async fn run(args: QueryArgs) -> Result<u8, Failure> {
    let path = &args.manifest.manifest;
    let project = project::open(path).await?;
    project::must_have_run(&project.catalog, path).await?;
    let (catalog, storage) = (project.catalog.as_ref(), project.storage.as_ref());
    let source = QuerySource::gather(catalog, storage, Some(&project.plan), &args.sql).await.map_err(failure)?;
    project.catalog.close().await;
    let format = match args.format {
        Format::Table => query::Format::Table,
        Format::Csv => query::Format::Csv,
        Format::Json => query::Format::Json,
    };
    let answered = tokio::task::spawn_blocking(move || run_sql(&source, &args.sql));
    let rows = answered.await.map_err(|error| Failure::Internal(error.to_string()))?.map_err(failure)?;
    query::write(&rows, format, &mut stdout().lock())?;
    Ok(0)
}

fn failure(error: QueryError) -> Failure {
    match error {
        QueryError::Catalog(error) => error.into(),
        error => Failure::usage(error.to_string(), "SHOW TABLES lists what there is"),
    }
}
