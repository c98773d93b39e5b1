//! What a run would take: rows and shards from the listings, time and bytes from what earlier shards really cost.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Expansion, Plan, PlanNode};
use crate::catalog::{CommittedCounts, OPENING, Rate, ShardKey};

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
    /// Wall time of the shards still to be made, by one worker; `None` before the node was ever measured.
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
        let rate = rates.iter().find(|rate| rate.node == node.name);
        let mut estimate = NodeEstimate { node: node.name.clone(), ..NodeEstimate::default() };
        if open.contains(node.name.as_str()) {
            let shards = known.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
            estimate.n_shards = Some(shards.len() as u64);
            estimate.n_committed = shards.iter().filter(|(counts, _)| counts.is_some()).count() as u64;
            let n_in = rows_in(node, shards, &rows_out);
            let pending: Option<u64> = n_in
                .as_ref()
                .map(|n_in| shards.iter().zip(n_in).filter(|((done, _), _)| done.is_none()).map(|(_, n)| n).sum());
            estimate.n_rows = n_in.as_ref().map(|n_in| n_in.iter().sum());
            if pending == Some(0) {
                (estimate.wall_ms, estimate.device_ms, estimate.n_bytes) = (Some(0), Some(0), Some(0));
            } else if let (Some(pending), Some(rate)) = (pending, rate.filter(|rate| rate.n_in > 0)) {
                estimate.wall_ms = Some(scale(rate.wall_ms, pending, rate.n_in));
                estimate.device_ms = Some(scale(rate.device_ms, pending, rate.n_in));
                estimate.n_bytes = Some(scale(rate.n_bytes, pending, rate.n_in));
            }
            if let Some(n_in) = n_in {
                let out = |((counts, _), n_in): (&Known, u64)| match counts {
                    Some(counts) => counts.n_out,
                    None => expected_out(n_in, rate),
                };
                rows_out.insert(node.name.clone(), shards.iter().zip(n_in).map(out).collect());
            }
        }
        estimates.push(estimate);
    }
    estimates
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

/// One row per row until the node was measured.
fn expected_out(n_in: u64, rate: Option<&Rate>) -> u64 {
    rate.filter(|rate| rate.n_in > 0).map_or(n_in, |rate| scale(rate.n_out, n_in, rate.n_in))
}

fn scale(value: u64, wanted: u64, measured: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(wanted) / u128::from(measured.max(1))).unwrap_or(u64::MAX)
}
