//! `demo`: the quickstart, whole, on bundled pictures.

use std::path::Path;

use cafe_pipeline::executor::Ending;

use super::{audit, query, report, run as running};
use crate::cli::{AuditArgs, DemoArgs, Format, ManifestArg, Progress, QueryArgs, ReportArgs, RunArgs};
use crate::failure::Failure;
use crate::{embedded, project};

/// What the demo asks of its own dataset.
const QUERY: &str = "SELECT class, count(*) AS pairs, round(avg(sharpness), 1) AS sharpness \
                     FROM pairs JOIN scores ON pairs.reference_id = scores.reference_id GROUP BY class ORDER BY class";

pub(super) async fn run(args: DemoArgs, threads: usize) -> Result<u8, Failure> {
    embedded::copy("demo", &args.dir)?;
    let manifest = ManifestArg { manifest: args.dir.join("cafe.toml") };
    let run_args = RunArgs {
        manifest: manifest.clone(),
        workers: None,
        sample: None,
        progress: Progress::Auto,
        allow_commands: false,
        lease: 30.0,
    };
    eprintln!("$ cafe-data run -m {}", manifest.manifest.display());
    let project = project::open(&manifest.manifest).await?;
    let report = running::carry_out(&project, running::options(&run_args, threads, None, None)?, &run_args).await?;
    running::conclude(&report, &run_args);
    if report.ending != Ending::Done {
        return Ok(report.exit_code());
    }
    eprintln!("\n$ cafe-data audit --verify -m {}", manifest.manifest.display());
    let code = audit::run(&AuditArgs { manifest: manifest.clone(), json: false, verify: true, trace: None }).await?;
    eprintln!("\n$ cafe-data query -m {} \"{QUERY}\"", manifest.manifest.display());
    query::run(QueryArgs { manifest: manifest.clone(), sql: QUERY.to_owned(), format: Format::Table }).await?;
    eprintln!("\n$ cafe-data report -m {}", manifest.manifest.display());
    report::run(ReportArgs { manifest: manifest.clone(), output: None, json: false }).await?;
    conclude(&args.dir, &manifest.manifest).await?;
    Ok(code)
}

async fn conclude(dir: &Path, manifest: &Path) -> Result<(), Failure> {
    let project = project::open(manifest).await?;
    let releases = project.catalog.releases().await?;
    if let Some(release) = releases.last() {
        eprintln!("\nthe dataset: {}", project.storage.root().join(&release.path).display());
    }
    project.catalog.close().await;
    eprintln!("the project: {} — edit cafe.toml there and run it again; only what changed is made", dir.display());
    Ok(())
}
