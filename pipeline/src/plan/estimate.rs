//! What a run would take: rows and shards from the listings, time and bytes from what earlier shards really cost, or are
//! assumed to cost.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Expansion, Plan, PlanNode};
use crate::catalog::{CommittedCounts, OPENING, Rate, ShardKey};
use crate::manifest::Assumption;
use crate::stage::Work;

/// What is known, or guessed, of a node before it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeEstimate {
    /// The node.
    pub node: String,
    /// Shards; `None` behind a barrier that has not opened.
    pub n_shards: Option<u64>,
    /// Of those, shards made already.
    pub n_committed: u64,
    /// Rows of the shards made, and those expected of the others; `None` when nothing is known upstream.
    pub n_rows: Option<u64>,
    /// Rows of the first table that these make, or are expected to.
    pub n_out: Option<u64>,
    /// Wall time of the shards still to be made, by one worker; `None` before the node was ever measured, where the manifest assumes nothing.
    pub wall_ms: Option<u64>,
    /// The same on accelerators.
    pub device_ms: Option<u64>,
    /// Bytes still to be written.
    pub n_bytes: Option<u64>,
}

/// The shards of an expansion in the order in which [`estimate`] wants to know which are committed.
#[must_use]
pub fn keys(expansion: &Expansion) -> Vec<ShardKey> {
    expansion.batch.rows.iter().map(|row| row.key.clone()).collect()
}

/// A shard: what it counted when it was committed, and the rows of its slice.
type Known = (Option<CommittedCounts>, Option<u64>);

/// Estimates each node of `plan`. `committed` answers [`keys`], `rates` are those measured so far.
#[must_use]
pub fn estimate(
    plan: &Plan,
    expansion: &Expansion,
    committed: &[Option<CommittedCounts>],
    rates: &[Rate],
) -> Vec<NodeEstimate> {
    let mut known: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
    for (row, counts) in expansion.batch.rows.iter().zip(committed) {
        if row.key.shard_index != OPENING {
            let sliced = row.slice.as_ref().map(|slice| slice.n_rows);
            known.entry(&row.key.node).or_default().push((*counts, sliced));
        }
    }
    let open: BTreeSet<&str> = expansion.shards.keys().map(String::as_str).collect();
    let mut rows_out: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut estimates = Vec::new();
    for node in &plan.nodes {
        let expected = Expected::of(node, rates);
        let mut estimate = NodeEstimate { node: node.name.clone(), ..NodeEstimate::default() };
        let is_open = open.contains(node.name.as_str());
        // Behind a barrier that has not opened rows are counted together: into how many shards they are cut is not known yet.
        let shards =
            if is_open { known.get(node.name.as_str()).map_or(&[][..], Vec::as_slice) } else { &[(None, None)] };
        if is_open {
            estimate.n_shards = Some(shards.len() as u64);
            estimate.n_committed = shards.iter().filter(|(counts, _)| counts.is_some()).count() as u64;
        }
        if let Some(n_in) = rows_in(node, shards, &rows_out) {
            let pending = shards.iter().zip(&n_in).filter(|((done, _), _)| done.is_none()).map(|(_, n)| n).sum();
            estimate.n_rows = Some(n_in.iter().sum());
            estimate.wall_ms = Expected::of_rows(expected.wall_ms, pending);
            estimate.device_ms = Expected::of_rows(expected.device_ms, pending);
            estimate.n_bytes = Expected::of_rows(expected.n_bytes, pending);
            let out = |((counts, _), n_in): (&Known, u64)| match counts {
                Some(counts) => counts.n_out,
                None => match &node.decl.work {
                    Work::Rows(_) => times(expected.n_out, n_in),
                    Work::Whole(work) => work.expected_rows(n_in),
                },
            };
            let n_out: Vec<u64> = shards.iter().zip(n_in).map(out).collect();
            estimate.n_out = Some(n_out.iter().sum());
            rows_out.insert(node.name.clone(), n_out);
        }
        estimates.push(estimate);
    }
    estimates
}

/// What a row of a node makes and costs: as it was measured, else as the manifest assumes.
struct Expected {
    n_out: f64,
    wall_ms: Option<f64>,
    device_ms: Option<f64>,
    n_bytes: Option<f64>,
}

impl Expected {
    fn of(node: &PlanNode, rates: &[Rate]) -> Self {
        if let Some(rate) = rates.iter().find(|rate| rate.node == node.name && rate.n_in > 0) {
            let each = |value: u64| value as f64 / rate.n_in as f64;
            return Self {
                n_out: each(rate.n_out),
                wall_ms: Some(each(rate.wall_ms)),
                device_ms: Some(each(rate.device_ms)),
                n_bytes: Some(each(rate.n_bytes)),
            };
        }
        let fan_out = match &node.decl.work {
            Work::Rows(work) => work.expected_fan_out(),
            Work::Whole(_) => 1.0,
        };
        // A manifest speaks of a stage, and means the node that bears its name.
        let assumed = if node.name == node.stage { node.settings.assume.clone() } else { Assumption::default() };
        let ms = |secs: Option<f64>| secs.map(|secs| secs * 1000.0);
        Self {
            n_out: assumed.rows_out.unwrap_or(fan_out),
            wall_ms: ms(assumed.wall_secs),
            device_ms: ms(assumed.device_secs),
            n_bytes: assumed.bytes,
        }
    }

    /// Nothing is left to do where no row is, whatever one would cost.
    fn of_rows(each: Option<f64>, n_rows: u64) -> Option<u64> {
        if n_rows == 0 { Some(0) } else { each.map(|each| times(each, n_rows)) }
    }
}

/// Rows that each shard reads: counted where it is committed, else from its slice, else from upstream.
fn rows_in(node: &PlanNode, shards: &[Known], rows_out: &BTreeMap<String, Vec<u64>>) -> Option<Vec<u64>> {
    let upstream = node.reads.first().and_then(|read| rows_out.get(read.from.first()?));
    shards
        .iter()
        .enumerate()
        .map(|(index, (counts, sliced))| match (counts, sliced, upstream) {
            (Some(counts), ..) => Some(counts.n_in),
            (None, Some(n_rows), _) => Some(*n_rows),
            (None, None, Some(upstream)) if shards.len() == upstream.len() => upstream.get(index).copied(),
            (None, None, Some(upstream)) => Some(upstream.iter().sum()),
            _ => None,
        })
        .collect()
}

fn times(each: f64, n: u64) -> u64 {
    (each * n as f64).round() as u64
}
