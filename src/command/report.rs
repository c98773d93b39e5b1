//! `report`: where the project stands, as one page.

use std::path::{Path, PathBuf};

use cafe_pipeline::audit::{AuditOptions, audit};
use cafe_pipeline::executor::Project;
use cafe_pipeline::query::{QueryError, QuerySource};
use cafe_stages::report::{Facts, Report, ReportError};

use super::whole::write;
use crate::cli::ReportArgs;
use crate::failure::Failure;
use crate::format::{json, out};
use crate::project;

/// The page's name where none is given.
const PAGE: &str = "report.html";

pub(super) async fn run(args: ReportArgs) -> Result<u8, Failure> {
    let path = &args.manifest.manifest;
    let project = project::open(path).await?;
    project::must_have_run(&project.catalog, path).await?;
    let facts = gather(&project).await?;
    project.catalog.close().await;
    let summed_up = tokio::task::spawn_blocking(move || Report::new(&facts));
    let report = summed_up.await.map_err(|error| Failure::Internal(error.to_string()))?.map_err(failure)?;
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if args.json && (args.output.is_none() || to_stdout) {
        json(&report.to_json())?;
        return Ok(0);
    }
    let text = if args.json { format!("{:#}\n", report.to_json()) } else { report.to_html().map_err(failure)? };
    if to_stdout {
        out(&text)?;
        return Ok(0);
    }
    let page = args.output.unwrap_or_else(|| beside(path));
    write(&page, &text, "choose another place with -o")?;
    out(&format!("{}\n", page.display()))?;
    Ok(0)
}

/// What is known of a project.
async fn gather(project: &Project) -> Result<Facts, Failure> {
    let catalog = project.catalog.as_ref();
    let audit = audit(&project.plan, catalog, &project.storage, AuditOptions::default()).await?;
    let Some(plan) = catalog.current_plan().await? else {
        return Err(Failure::Internal("the plan of the last run is gone".to_owned()));
    };
    let manifest = &project.plan.manifest;
    Ok(Facts {
        // The folders above it are nobody's business: reports are passed on.
        manifest: manifest.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        seed: manifest.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan,
        audit,
        ledger: catalog.ledger().await?,
        quarantine: catalog.quarantine().await?,
        releases: catalog.releases().await?,
        source: QuerySource::new(project.storage.root(), catalog.files().await?).with_plan(&project.plan),
    })
}

fn beside(manifest: &Path) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).join(PAGE)
}

fn failure(error: ReportError) -> Failure {
    match error {
        ReportError::Query(QueryError::Catalog(error)) => error.into(),
        ReportError::Page(error) => Failure::Internal(error.to_string()),
        error => Failure::Transient(error.to_string()),
    }
}
