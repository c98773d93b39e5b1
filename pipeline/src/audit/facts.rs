//! What is known before anything is judged.

use std::collections::BTreeMap;

use super::ids::Keys;
use super::report::{Orphans, Verdicts};
use crate::catalog::{LedgerEntry, LineageEntry, QuarantineEntry, ReleaseRecord, ShardStatus};
use crate::digest::Digest;
use crate::plan::{Plan, PlanNode};
use crate::stage::{Bounds, FanOut, Mapping, Work};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) verified: bool,
    /// In the order of the plan; nodes of which the catalog knows and the plan does not stand last.
    pub(super) nodes: Vec<NodeFacts>,
    pub(super) shards: Vec<ShardStatus>,
    pub(super) quarantine: Vec<QuarantineEntry>,
    pub(super) ledger: Vec<LedgerEntry>,
    /// Committed files, by path.
    pub(super) files: BTreeMap<String, FileFacts>,
    /// Listings, by path: their rows, or what is wrong with them.
    pub(super) listings: BTreeMap<String, Result<u64, String>>,
    /// Per shard, when verified.
    pub(super) lineage: BTreeMap<i64, Vec<LineageEntry>>,
    /// Per node and table, when verified.
    pub(super) keys: BTreeMap<(String, String), Keys>,
    /// Per node that writes verdicts.
    pub(super) verdicts: BTreeMap<String, Verdicts>,
    pub(super) releases: Vec<ReleaseFacts>,
    pub(super) orphans: Orphans,
    pub(super) notes: Vec<String>,
}

/// A node, as far as rows are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeFacts {
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) rows_from: RowsFrom,
    /// Whether a done row makes exactly one row of the first table.
    pub(super) one_to_one: bool,
    /// Whether the shards are bounded as those of the node that the rows come from.
    pub(super) is_aligned: bool,
}

/// Where a shard's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowsFrom {
    /// Its slice of a listing.
    Slice,
    /// The same shard of `table` of `node`.
    Same { node: String, table: String },
    /// All shards of `table` of `node`.
    All { node: String, table: String },
    /// Whatever the work says: it treats whole tables, or the plan does not know the node.
    Work,
}

/// A committed file, as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileFacts {
    Missing,
    Unreadable(String),
    Found {
        n_bytes: u64,
        /// From the footer; when verified, from the decoded rows.
        n_rows: Result<u64, String>,
        /// When verified.
        digest: Option<Digest>,
    },
}

/// A release, as it is found.
#[derive(Clone, Debug)]
pub(super) struct ReleaseFacts {
    pub(super) record: ReleaseRecord,
    /// What is wrong with which of its files.
    pub(super) faults: Vec<(String, String)>,
}

impl NodeFacts {
    pub(super) fn of(node: &PlanNode) -> Self {
        let first = node.reads.first().and_then(|read| Some((read, read.from.first()?)));
        let rows_from = match (&node.decl.work, &node.decl.bounds, first) {
            (Work::Whole(_), _, _) => RowsFrom::Work,
            (Work::Rows(_), Bounds::Source(_) | Bounds::Barrier(_), _) => RowsFrom::Slice,
            (Work::Rows(_), _, Some((read, from))) => {
                let (node, table) = (from.clone(), read.table.clone());
                match read.mapping {
                    Mapping::Same => RowsFrom::Same { node, table },
                    Mapping::All => RowsFrom::All { node, table },
                }
            }
            (Work::Rows(_), _, None) => RowsFrom::Work,
        };
        let one_to_one = match &node.decl.work {
            Work::Rows(work) => work.fan_out() == FanOut::One && !node.decl.writes.is_empty(),
            Work::Whole(_) => false,
        };
        Self {
            name: node.name.clone(),
            stage: node.stage.clone(),
            is_aligned: matches!(node.decl.bounds, Bounds::Aligned),
            rows_from,
            one_to_one,
        }
    }

    /// Of a node that the plan does not have.
    pub(super) fn foreign(name: &str) -> Self {
        let stage = name.split('.').next().unwrap_or(name).to_owned();
        Self { name: name.to_owned(), stage, rows_from: RowsFrom::Work, one_to_one: false, is_aligned: false }
    }

    /// The nodes of the plan, then those that only have shards.
    pub(super) fn all(plan: &Plan, shards: &[ShardStatus]) -> Vec<Self> {
        let mut nodes: Vec<Self> = plan.nodes.iter().map(Self::of).collect();
        for shard in shards {
            if !nodes.iter().any(|node| node.name == shard.key.node) {
                nodes.push(Self::foreign(&shard.key.node));
            }
        }
        nodes
    }
}
