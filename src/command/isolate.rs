//! `isolate`: a child that works on rows of which processes died.

use std::io::stdout;

use cafe_pipeline::executor::{read_request, work_isolated};

use crate::cli::IsolateArgs;
use crate::failure::Failure;
use crate::project;

pub(super) async fn run(args: &IsolateArgs) -> Result<u8, Failure> {
    let request = read_request(&args.request).map_err(|error| {
        Failure::usage(error.to_string(), "this subcommand is for `run`, which starts it by itself")
    })?;
    let project = project::open(&args.manifest.manifest).await?;
    project.catalog.close().await;
    let worked = tokio::task::spawn_blocking(move || {
        work_isolated(&project.plan, &project.storage, &request, &mut stdout());
    });
    worked.await.map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(0)
}
