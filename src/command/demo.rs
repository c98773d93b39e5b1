//! `demo`: the quickstart, whole, on bundled models and pictures.

use std::path::Path;

use cafe_pipeline::executor::RunReport;

use super::{audit, query, report, run as running};
use crate::cli::{AuditArgs, DemoArgs, Format, ManifestArg, PREVIEWS, Progress, QueryArgs, ReportArgs, RunArgs};
use crate::failure::Failure;
use crate::{embedded, project};

/// What became of the candidates of each generator.
const FUNNEL: &str = "SELECT generator, alpha, count(*) AS candidates, \
                      sum(CASE WHEN verdicts.accepted THEN 1 ELSE 0 END) AS accepted, \
                      round(avg(clip), 3) AS clip, round(avg(dino), 3) AS dino \
                      FROM candidates JOIN scores ON candidates.candidate_id = scores.candidate_id \
                      JOIN verdicts ON candidates.candidate_id = verdicts.candidate_id \
                      GROUP BY generator, alpha ORDER BY generator, alpha";

/// What each stage took.
const COSTS: &str = "SELECT node, count(*) AS shards, sum(n_done) AS rows, round(sum(wall_ms) / 1000.0, 1) AS secs \
                     FROM ledger GROUP BY node ORDER BY secs DESC LIMIT 8";

/// What was said.
const DIALOGUES: &str = "SELECT speech_act, y, y_tilde FROM dialogues ORDER BY candidate_id LIMIT 5";

pub(super) async fn run(args: DemoArgs, threads: usize) -> Result<u8, Failure> {
    embedded::copy("quickstart", &args.dir)?;
    let manifest = ManifestArg { manifest: args.dir.join("cafe.toml") };
    let run_args = RunArgs {
        manifest: manifest.clone(),
        workers: None,
        sample: None,
        progress: Progress::Auto,
        previews: PREVIEWS,
        allow_commands: false,
        lease: 30.0,
    };
    eprintln!("$ cafe-data run -m {}", manifest.manifest.display());
    let project = project::open(&manifest.manifest).await?;
    let ran = running::carry_out(&project, running::options(&run_args, threads, None, None)?, &run_args).await?;
    running::conclude(&ran, &run_args);
    if !is_worth_a_look(&ran) {
        return Ok(ran.exit_code());
    }
    eprintln!("\n$ cafe-data audit -m {}", manifest.manifest.display());
    let balanced =
        audit::run(&AuditArgs { manifest: manifest.clone(), json: false, verify: false, trace: None }).await?;
    ask(&manifest, FUNNEL).await?;
    ask(&manifest, COSTS).await?;
    if ran.waiting.is_empty() {
        ask(&manifest, DIALOGUES).await?;
    }
    eprintln!("\n$ cafe-data report -m {}", manifest.manifest.display());
    report::run(ReportArgs { manifest: manifest.clone(), output: None, json: false }).await?;
    conclude(&args.dir, &manifest.manifest).await?;
    Ok(if balanced == 0 { ran.exit_code() } else { balanced })
}

/// Whether all was done that can be done now.
fn is_worth_a_look(ran: &RunReport) -> bool {
    ran.stopped.is_empty() && matches!(ran.exit_code(), 0 | 4) || !ran.waiting.is_empty()
}

/// Asks the dataset, and shows how.
async fn ask(manifest: &ManifestArg, sql: &str) -> Result<(), Failure> {
    eprintln!("\n$ cafe-data query -m {} \"{sql}\"", manifest.manifest.display());
    query::run(QueryArgs { manifest: manifest.clone(), sql: sql.to_owned(), format: Format::Table }).await?;
    Ok(())
}

async fn conclude(dir: &Path, manifest: &Path) -> Result<(), Failure> {
    let project = project::open(manifest).await?;
    for release in project.catalog.releases().await? {
        eprintln!("\na dataset: {}", project.storage.root().join(&release.path).display());
    }
    project.catalog.close().await;
    eprintln!("the project: {} — edit cafe.toml there and run it again; only what changed is made", dir.display());
    Ok(())
}
