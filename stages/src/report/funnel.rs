//! From what was planned to what is published, step by step; what is not made yet is said with each step.

use std::collections::BTreeSet;

use cafe_pipeline::audit::NodeAudit;
use cafe_pipeline::query::collect;
use cafe_pipeline::text::counted;
use polars::prelude::*;
use serde::Serialize;

use super::tables::{LEVELS, Tables, text};
use super::{Facts, ReportError};
use crate::filter::explains;
use crate::tables::{CANDIDATES, VERDICTS, id_column};

/// The table with the dialogues of accepted candidates.
const DIALOGUES: &str = "dialogues";

/// A step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// `generated`, `clip >= 0.3`, …
    pub(super) name: String,
    /// What is counted: rows of this table.
    pub(super) of: String,
    pub(super) n: u64,
    /// Of the step before it, where that counts the same.
    pub(super) share: Option<f64>,
    /// Of the first step that counts the same.
    pub(super) share_of_first: f64,
    /// What is still to be made, in words.
    pub(super) pending: Option<String>,
}

struct Steps<'f> {
    facts: &'f Facts,
    steps: Vec<Step>,
}

/// All steps.
pub(super) fn funnel(facts: &Facts, tables: &Tables<'_>) -> Result<Vec<Step>, ReportError> {
    let mut funnel = Steps { facts, steps: Vec::new() };
    for table in LEVELS.into_iter().rev().filter(|table| tables.has(table)) {
        let writers: BTreeSet<&str> = tables.of(table).map(|part| part.node.as_str()).collect();
        let nodes: Vec<&NodeAudit> =
            facts.audit.nodes.iter().filter(|node| writers.contains(node.node.as_str())).collect();
        if table == CANDIDATES {
            funnel.add("planned", table, planned(&nodes), &[]);
        }
        let name = if table == CANDIDATES { "generated" } else { table };
        funnel.add(name, table, tables.n_rows(table), &nodes);
        funnel.judged(tables, table);
    }
    if tables.has(DIALOGUES) {
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for part in tables.of(DIALOGUES).filter(|part| part.columns.contains("candidate_id")) {
            let rows = collect(part.rows()?.select([col("candidate_id")]))?;
            ids.extend(rows.column("candidate_id")?.str()?.iter().flatten().map(ToOwned::to_owned));
        }
        let nodes = funnel.nodes(tables.of(DIALOGUES).map(|part| part.node.as_str()));
        funnel.add("dialogue", CANDIDATES, ids.len() as u64, &nodes);
    }
    published(&mut funnel, tables)?;
    Ok(funnel.steps)
}

/// Rows that the generators make when all are done: those to be read, times how many each made so far.
fn planned(nodes: &[&NodeAudit]) -> u64 {
    let of_node = |node: &&NodeAudit| {
        let per_row = if node.n_done == 0 { 1.0 } else { node.n_out as f64 / node.n_done as f64 };
        node.n_out + ((node.n_pending + node.n_quarantined) as f64 * per_row).round() as u64
    };
    nodes.iter().map(of_node).sum()
}

/// The releases of the current plan, counted by what their rows are.
fn published(funnel: &mut Steps<'_>, tables: &Tables<'_>) -> Result<(), ReportError> {
    let columns = [("release_id", DataType::String), ("n_rows", DataType::UInt64)];
    let releases = tables.stack("releases", &columns)?;
    for at in 0..releases.height() {
        let Some(id) = text(&releases, "release_id", at) else { continue };
        let n = text(&releases, "n_rows", at).and_then(|n| n.parse().ok()).unwrap_or(0);
        let record = funnel.facts.releases.iter().find(|release| release.release_id == id);
        let of = record.and_then(|release| release.summary.get("of")?.as_str()).unwrap_or(CANDIDATES).to_owned();
        funnel.add(&format!("published ({id})"), &of, n, &[]);
    }
    if releases.height() == 0 && tables.has("releases") {
        let nodes = funnel.nodes(tables.of("releases").map(|part| part.node.as_str()));
        let of = LEVELS.into_iter().find(|table| tables.has(table)).unwrap_or(CANDIDATES);
        funnel.add("published", of, 0, &nodes);
    }
    Ok(())
}

impl<'f> Steps<'f> {
    fn nodes<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<&'f NodeAudit> {
        let names: BTreeSet<&str> = names.collect();
        self.facts.audit.nodes.iter().filter(|node| names.contains(node.node.as_str())).collect()
    }

    /// Adds a step, whose rows `nodes` make.
    fn add(&mut self, name: &str, of: &str, n: u64, nodes: &[&NodeAudit]) {
        let same = || self.steps.iter().filter(|step| step.of == of);
        let share = |of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        let step = Step {
            name: name.to_owned(),
            of: of.to_owned(),
            n,
            // Two filters side by side judge the same rows: the second's are no part of the first's.
            share: same().next_back().filter(|before| n <= before.n).map(|before| share(before.n)),
            share_of_first: same().next().map_or(1.0, |first| share(first.n)),
            pending: pending(nodes),
        };
        self.steps.push(step);
    }

    /// A step for each rule of the filters of `table`, and for whatever else judges its rows, such as people.
    fn judged(&mut self, tables: &Tables<'_>, table: &str) {
        let id = id_column(table).unwrap_or_default();
        let judges: Vec<String> =
            tables.of(VERDICTS).filter(|part| part.columns.contains(id)).map(|part| part.node.clone()).collect();
        let facts = self.facts;
        let is_one = tables.filters.iter().filter(|filter| judges.contains(&filter.node)).count() < 2;
        for node in facts.audit.nodes.iter().filter(|node| judges.contains(&node.node)) {
            let verdicts = node.verdicts.clone().unwrap_or_default();
            let filter = tables.filters.iter().find(|filter| filter.node == node.node);
            let Some(filter) = filter else {
                self.add(&node.node, table, verdicts.n_accepted, &[node]);
                continue;
            };
            // A row is rejected by the first rule that it fails: what is left passes on to the next.
            let mut left = verdicts.n_accepted + verdicts.rejected.values().sum::<u64>();
            let mut unexplained = verdicts.rejected.clone();
            // Of several it is said which, and how many rows are its own.
            if !is_one {
                self.add(&format!("judged by {}", node.node), table, left, &[]);
            }
            for (at, rule) in filter.rules.iter().enumerate() {
                let is_last = at + 1 == filter.rules.len();
                unexplained.retain(|reason, n| {
                    let is_this = explains(rule, reason);
                    left -= if is_this { *n } else { 0 };
                    !is_this
                });
                let n = if is_last { verdicts.n_accepted } else { left };
                let name = if is_one { rule.clone() } else { format!("{}: {rule}", node.node) };
                self.add(&name, table, n, &[node]);
            }
        }
    }
}

/// What nodes still have to do.
fn pending(nodes: &[&NodeAudit]) -> Option<String> {
    let sum = |of: fn(&NodeAudit) -> u64| nodes.iter().map(|node| of(node)).sum::<u64>();
    let (rows, shards) = (sum(|node| node.n_pending), sum(|node| node.n_pending_shards));
    let (unknown, failed) = (sum(|node| node.n_unknown_shards), sum(|node| node.n_failed_shards));
    let is_begun = sum(|node| node.n_committed) + shards + failed > 0;
    let mut parts = Vec::new();
    if shards > 0 {
        let at_least = if unknown > 0 { "at least " } else { "" };
        parts.push(format!("{} with {at_least}{}", counted(shards, "shard"), counted(rows, "row")));
    }
    if failed > 0 {
        parts.push(format!("{} that failed, which the next run tries again", counted(failed, "shard")));
    }
    if !nodes.is_empty() && !is_begun {
        parts.push("not begun, it waits for the steps before it".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
