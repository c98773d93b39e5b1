//! `plan`: what would run.

use std::collections::BTreeMap;
use std::fmt::Write;

use cafe_pipeline::catalog::Adoption;
use cafe_pipeline::digest::Fingerprint;
use cafe_pipeline::executor::{Project, prepare_sources, slices_of};
use cafe_pipeline::plan::{Explanation, NodeEstimate, estimate, expand, explain as compare, keys, to_dot};
use cafe_pipeline::stage::{CompileContext, StageDecl};
use cafe_stages::benchmark::KeptOut;
use cafe_stages::filter;
use cafe_stages::instruct::{self, HeldOut};
use serde_json::json;

use super::{explain, kept_out};
use crate::cli::PlanArgs;
use crate::failure::Failure;
use crate::format::{Align, bytes, count, duration, json, out, table};
use crate::project;

pub(super) async fn run(args: &PlanArgs) -> Result<u8, Failure> {
    let path = &args.manifest.manifest;
    let mut project = project::open(path).await?;
    if let (Some(stage), Some(reason)) = (&args.adopt, &args.reason) {
        adopt(&project, stage, reason).await?;
        project = project::open(path).await?;
    }
    let listings = prepare_sources(&project, None).await?;
    let sources = slices_of(&project.plan, &listings);
    let expansion = expand(&project.plan, &sources, None, project.catalog.as_ref()).await?;
    let committed = project.catalog.find_committed(&keys(&expansion)).await?;
    let estimates = estimate(&project.plan, &expansion, &committed, &project.catalog.rates().await?);
    let explanation = explanation(&project).await?;
    let found = kept_out::find(&project, &expansion).await?;
    project.catalog.close().await;

    if args.dot {
        let n_shards = |node: &str| expansion.shards.get(node).map(Vec::len);
        out(&to_dot(&project.plan, n_shards))?;
    } else if args.json {
        let explanation = args.explain.then_some(&explanation).and_then(Option::as_ref);
        json(&as_json(&project, &estimates, explanation, &found)?)?;
    } else if args.explain {
        let manifest = path.display().to_string();
        out(&explanation
            .map_or("nothing was run yet: all of it is new\n".to_owned(), |found| explain::text(&found, &manifest)))?;
    } else {
        out(&as_text(&project, &estimates))?;
        for warning in filter::warnings(&project.plan).into_iter().chain(kept_out::warnings(&found)) {
            eprintln!("warning: {warning}");
        }
        for (stage, prompts) in held_out(&project)? {
            eprintln!(
                "{stage}: {} prompts are held out, and never drawn (--json lists them)",
                count(prompts.len() as u64)
            );
        }
        if let Some(found) = explanation.filter(|found| !found.stale.is_empty()) {
            let n_shards = found.stale.iter().map(|stale| stale.n_shards).sum();
            eprintln!("{} shards of the last run are of no use to this plan: see --explain", count(n_shards));
        }
    }
    kept_out::check(&found)?;
    Ok(0)
}

/// The difference to the plan applied last; `None` when there was none.
async fn explanation(project: &Project) -> Result<Option<Explanation>, Failure> {
    let Some(last) = project.catalog.current_plan().await? else { return Ok(None) };
    Ok(Some(compare(&project.plan, &last, &project.catalog.progress().await?)))
}

/// Lets the shards that the last plan made of `stage` stand in for those that this one wants.
async fn adopt(project: &Project, stage: &str, reason: &str) -> Result<(), Failure> {
    let nodes = project.plan.nodes_of_stage(stage);
    if nodes.is_empty() {
        return Err(Failure::usage(format!("the manifest has no stage `{stage}`"), "name one of its stages"));
    }
    let last = project.catalog.current_plan().await?;
    let mut n_adopted = 0;
    for node in project.plan.nodes.iter().filter(|node| nodes.contains(&node.name)) {
        let before = last.as_ref().and_then(|last| fingerprint_of(&last.nodes, &node.name));
        if let Some(taken) = before.filter(|taken| *taken != node.fingerprint) {
            let (node, wanted) = (node.name.clone(), node.own_fingerprint);
            let adoption = Adoption { node, wanted, taken, reason: reason.to_owned() };
            project.catalog.adopt(&adoption).await?;
            n_adopted += 1;
        }
    }
    if n_adopted == 0 {
        return Err(Failure::usage(
            format!("the last run's shards of `{stage}` are those of this plan, or there are none"),
            "see what changed with --explain",
        ));
    }
    eprintln!("adopted what the last run made of {stage}: {reason}");
    Ok(())
}

fn fingerprint_of(nodes: &serde_json::Value, name: &str) -> Option<Fingerprint> {
    let node = nodes.as_array()?.iter().find(|node| node["name"] == name)?;
    Fingerprint::from_hex(node["fingerprint"].as_str()?).ok()
}

fn as_text(project: &Project, estimates: &[NodeEstimate]) -> String {
    let unknown = || "?".to_owned();
    let headers = [
        ("stage", Align::Left),
        ("kind", Align::Left),
        ("shards", Align::Right),
        ("made", Align::Right),
        ("rows", Align::Right),
        ("makes", Align::Right),
        ("time left", Align::Right),
        ("device", Align::Right),
        ("disk", Align::Right),
    ];
    let rows = estimates.iter().map(|node| {
        let kind = project.plan.node(&node.node).map_or("", |node| node.kind.as_str());
        vec![
            node.node.clone(),
            kind.to_owned(),
            node.n_shards.map_or_else(unknown, count),
            count(node.n_committed),
            node.n_rows.map_or_else(unknown, count),
            node.n_out.map_or_else(unknown, count),
            node.wall_ms.map_or_else(unknown, duration),
            node.device_ms.map_or_else(unknown, duration),
            node.n_bytes.map_or_else(unknown, bytes),
        ]
    });
    let mut text = table(&headers, &rows.collect::<Vec<_>>());
    if estimates.iter().any(|node| node.n_shards.is_none() || node.wall_ms.is_none()) {
        let _ = writeln!(
            text,
            "? is not known yet: shards behind a barrier, or a stage that was never measured (run --sample N)"
        );
    }
    text
}

/// The prompts that each stage keeps for evaluation.
fn held_out(project: &Project) -> Result<Vec<(String, Vec<HeldOut>)>, Failure> {
    let manifest = &project.plan.manifest;
    let context = CompileContext::of(manifest);
    let mut held = Vec::new();
    for (index, stage) in manifest.stages.iter().enumerate().filter(|(_, stage)| stage.kind == "instruct") {
        let decl = StageDecl { name: stage.name.clone(), config: stage.config.clone() };
        let prompts = decl.config().and_then(|config| instruct::held_out(&config, &context)).map_err(|issues| {
            Failure::Manifest(Box::new(manifest.from_issues(issues.iter().map(|issue| (index, issue)))))
        })?;
        if !prompts.is_empty() {
            held.push((stage.name.clone(), prompts));
        }
    }
    Ok(held)
}

fn as_json(
    project: &Project,
    estimates: &[NodeEstimate],
    explanation: Option<&Explanation>,
    found: &[KeptOut],
) -> Result<serde_json::Value, Failure> {
    let nodes: Vec<serde_json::Value> = estimates
        .iter()
        .zip(&project.plan.nodes)
        .map(|(estimate, node)| {
            json!({
                "stage": node.stage,
                "kind": node.kind,
                "bounds": node.decl.bounds.as_str(),
                "fingerprint": node.fingerprint,
                "reads": node.reads.iter().map(|read| json!({ "table": read.table, "from": read.from })).collect::<Vec<_>>(),
                "writes": node.decl.writes.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(),
                "estimate": estimate,
            })
        })
        .collect();
    let held_out: BTreeMap<String, Vec<HeldOut>> = held_out(project)?.into_iter().collect();
    let mut plan = json!({ "manifest": project.plan.manifest.path, "nodes": nodes, "held_out": held_out,
        "kept_out": found, "warnings": filter::warnings(&project.plan) });
    if let (Some(explanation), Some(plan)) = (explanation, plan.as_object_mut()) {
        plan.insert("explanation".to_owned(), json!(explanation));
    }
    Ok(plan)
}
