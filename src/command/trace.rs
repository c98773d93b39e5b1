//! `audit --trace`: where one row comes from, and what it cost.

use cafe_pipeline::executor::Project;
use cafe_pipeline::query::QuerySource;
use cafe_stages::trace::{Books, TraceError, to_text, trace};

use crate::failure::Failure;
use crate::format::{json, out};

pub(super) async fn run(project: &Project, id: &str, as_json: bool) -> Result<u8, Failure> {
    let catalog = project.catalog.as_ref();
    let books = Books {
        source: QuerySource::new(project.storage.root(), catalog.files().await?).with_plan(&project.plan),
        ledger: catalog.ledger().await?,
        quarantine: catalog.quarantine().await?,
    };
    let wanted = id.to_owned();
    let traced = tokio::task::spawn_blocking(move || trace(&books, &wanted));
    let mut trace = traced.await.map_err(|error| Failure::Internal(error.to_string()))?.map_err(failure)?;
    for link in trace.chain.iter().filter(|link| link.kind == "quadruplet") {
        for release in catalog.releases_with(&link.id).await? {
            if !trace.releases.contains(&release) {
                trace.releases.push(release);
            }
        }
    }
    catalog.close().await;
    if as_json {
        json(&trace)?;
    } else {
        out(&to_text(&trace))?;
    }
    Ok(0)
}

fn failure(error: TraceError) -> Failure {
    match error {
        TraceError::Unknown { .. } | TraceError::Ambiguous { .. } => Failure::usage(error.to_string(), ""),
        error => Failure::Transient(error.to_string()),
    }
}
