//! `run` and `run stage`: carries out the manifest, or one stage of it.

use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Duration;

use cafe_pipeline::catalog::NodeProgress;
use cafe_pipeline::executor::{
    Ending, IsolateCommand, Onlooker, Project, RunOptions, RunReport, prepare_sources, run as execute, slices_of,
};
use cafe_pipeline::plan::{Expansion, PlanNode, Sample, estimate, expand, explain, keys};
use cafe_pipeline::stage::Cancel;
use cafe_stages::filter;
use cafe_stages::previews::{Previews, generating};

use super::kept_out;
use crate::cli::{Progress, RunArgs, RunCommand, RunOnly};
use crate::failure::Failure;
use crate::format::{bytes, count, duration};
use crate::progress::{self, Expected};
use crate::{project, signals, trust};

pub(super) async fn run(command: RunCommand, threads: usize) -> Result<u8, Failure> {
    let (args, stage, part) = match command.only {
        Some(RunOnly::Stage(args)) => (args.run, Some(args.name), args.shard),
        None => (command.run, None, None),
    };
    let project = project::open(&args.manifest.manifest).await?;
    if let Some(stage) = &stage
        && project.plan.nodes_of_stage(stage).is_empty()
    {
        let stages: Vec<&str> = project.plan.manifest.stages.iter().map(|stage| stage.name.as_str()).collect();
        return Err(Failure::usage(
            format!("the manifest has no stage `{stage}`"),
            format!("there are: {}", stages.join(", ")),
        ));
    }
    let options = options(&args, threads, stage, part)?;
    let report = carry_out(&project, options, &args).await?;
    conclude(&report, &args);
    Ok(report.exit_code())
}

/// What the arguments say of how to run.
pub(super) fn options(
    args: &RunArgs,
    threads: usize,
    stage: Option<String>,
    part: Option<(u32, u32)>,
) -> Result<RunOptions, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Internal(format!("cannot find this program's own path: {error}")))?;
    let manifest = absolute(&args.manifest.manifest)?;
    Ok(RunOptions {
        workers: args.workers.unwrap_or(threads).max(1),
        lease: Duration::from_secs_f64(args.lease),
        stage,
        part,
        sample: args.sample.map(|n_rows| Sample { n_rows }),
        isolate: Some(IsolateCommand {
            program,
            args: vec!["isolate".to_owned(), "--manifest".to_owned(), path_text(&manifest)?],
        }),
        onlooker: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
    })
}

fn path_text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
        Failure::usage(
            format!("the path {} is not UTF-8", path.display()),
            "keep the project in a folder with another name",
        )
    })
}

/// Runs the project and shows how it goes.
pub(super) async fn carry_out(project: &Project, options: RunOptions, args: &RunArgs) -> Result<RunReport, Failure> {
    trust::check(&project.plan, args.allow_commands)?;
    let cancel = Cancel::default();
    signals::watch(cancel.clone())?;
    let is_told = !matches!(args.progress, Progress::Json | Progress::None);
    let warn = |warnings: Vec<String>| {
        for warning in warnings.into_iter().filter(|_| is_told) {
            eprintln!("warning: {warning}");
        }
    };
    let listings = prepare_sources(project, options.sample).await?;
    let expansion = expand(&project.plan, &slices_of(&project.plan, &listings), None, project.catalog.as_ref()).await?;
    let found = kept_out::find(project, &expansion).await?;
    kept_out::check(&found)?;
    warn(filter::warnings(&project.plan));
    warn(kept_out::warnings(&found));
    if options.sample.is_none() && is_told {
        warn_of_loss(project).await?;
    }
    let nodes = expected(project, &expansion).await?;
    let previews = previews(project, &options, usize::from(args.previews), &nodes);
    if let Some(page) = previews.as_ref().map(|previews| previews.page()).filter(|page| is_told && page.is_file()) {
        eprintln!("the newest pictures, while they are made: {}", page.display());
    }
    let onlooker = previews.map(|previews| previews as Arc<dyn Onlooker>);
    let options = RunOptions { onlooker, ..options };
    let shown = progress::show(args.progress, &nodes);
    let ran = execute(project, options, cancel, shown.sink.clone()).await;
    shown.end();
    if ran.is_ok() {
        let found_now = kept_out::find_now(project).await?;
        if found_now != found {
            warn(kept_out::warnings(&found_now));
        }
    }
    project.catalog.close().await;
    Ok(ran?)
}

/// Says before it happens what the changes since the last run make of no use.
async fn warn_of_loss(project: &Project) -> Result<(), Failure> {
    let Some(last) = project.catalog.current_plan().await? else { return Ok(()) };
    let found = explain(&project.plan, &last, &project.catalog.progress().await?);
    for stale in &found.stale {
        let (node, n_shards, took) = (&stale.node, count(stale.n_shards), duration(stale.wall_ms));
        eprintln!("{node}: the settings changed; {n_shards} shards, which took {took}, are not used (plan --explain)");
    }
    Ok(())
}

/// The rows of each node, as far as they are known beforehand.
async fn expected(project: &Project, expansion: &Expansion) -> Result<Vec<(String, Expected)>, Failure> {
    let committed = project.catalog.find_committed(&keys(expansion)).await?;
    let rates = project.catalog.rates().await?;
    let n_done = |node: &str| {
        let rows = expansion.batch.rows.iter().zip(&committed).filter(|(row, _)| row.key.node == node);
        rows.filter(|(row, _)| row.key.shard_index >= 0)
            .filter_map(|(_, counts)| counts.map(|counts| counts.n_in))
            .sum()
    };
    Ok(estimate(&project.plan, expansion, &committed, &rates)
        .into_iter()
        .map(|node| (node.node.clone(), Expected { n_rows: node.n_rows, n_done: n_done(&node.node) }))
        .collect())
}

/// Shows the newest `n` pictures of each node that generates; `None` where none of these has anything to do.
fn previews(
    project: &Project,
    options: &RunOptions,
    n: usize,
    expected: &[(String, Expected)],
) -> Option<Arc<Previews>> {
    let has_work = |node: &PlanNode| {
        let is_meant = options.stage.as_deref().is_none_or(|stage| stage == node.stage);
        let of_node = expected.iter().find(|(name, _)| *name == node.name);
        let is_made =
            of_node.is_some_and(|(_, expected)| expected.n_rows.is_some_and(|n_rows| n_rows <= expected.n_done));
        is_meant && !is_made
    };
    let nodes: Vec<&PlanNode> = generating(&project.plan).collect();
    if n == 0 || !nodes.iter().any(|node| has_work(node)) {
        return None;
    }
    let names = nodes.into_iter().map(|node| node.name.clone()).collect();
    Some(Arc::new(Previews::open(project.storage.root(), names, n)))
}

/// Says on stderr how it ended, and what to do next.
pub(super) fn conclude(report: &RunReport, args: &RunArgs) {
    if args.progress == Progress::Json {
        if let Ok(line) = serde_json::to_string(&serde_json::json!({ "event": "ended", "report": report })) {
            eprintln!("{line}");
        }
        return;
    }
    for node in &report.nodes {
        eprintln!("{}", line(node));
    }
    let manifest = args.manifest.manifest.display();
    match &report.ending {
        Ending::Done => {}
        Ending::Interrupted => eprintln!("interrupted; the same command goes on from here"),
        Ending::Budget(reason) => eprintln!("stopped: {reason}; raise it in the manifest to go on from here"),
        Ending::Transient(reason) => eprintln!("stopped: {reason}; the same command goes on from here"),
        // What it waits for is said below.
        Ending::Blocked(_) if !report.waiting.is_empty() => {}
        Ending::Blocked(reason) => eprintln!("stopped: {reason}"),
    }
    for (stage, message) in &report.waiting {
        eprintln!("stage {stage} waits: {message}; the same command goes on from here");
    }
    for (stage, message) in &report.stopped {
        eprintln!("stage {stage} was stopped: {message}");
    }
    if report.n_failed() > 0 {
        eprintln!("{} shards failed: cafe-data status -m {manifest}; the next run tries them again", report.n_failed());
    }
    if report.n_quarantined() > 0 {
        let n_rows = count(report.n_quarantined());
        eprintln!(
            "{n_rows} rows are in quarantine: cafe-data query -m {manifest} \"SELECT node, row_id, class, message FROM quarantine\""
        );
    }
    if report.ending == Ending::Done && report.exit_code() == 0 {
        eprintln!("done");
    }
}

fn line(node: &NodeProgress) -> String {
    let n_shards = node.n_pending + node.n_running + node.n_committed + node.n_failed;
    let mut text = format!(
        "{:>20}  {:>6}/{:<6} shards {:>10} rows in {:>10} out {:>10} {:>9}",
        node.node,
        count(node.n_committed),
        count(n_shards),
        count(node.rows.n_in),
        count(node.n_out),
        bytes(node.n_bytes),
        duration(node.wall_ms),
    );
    for (number, what) in [
        (node.rows.n_duplicate, "duplicates"),
        (node.rows.n_quarantined, "quarantined"),
        (node.n_failed, "shards failed"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", count(number)));
        }
    }
    text
}
