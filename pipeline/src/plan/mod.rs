//! The compiled manifest: nodes in topological order, edges resolved, fingerprints known before anything runs.
//!
//! Two keys keep results apart. A node's *fingerprint* is a Merkle hash over everything configured that can change its
//! bytes, its upstream nodes' fingerprints included. A shard's fingerprint adds what it is made from: a slice of a
//! listing, or upstream shards' fingerprints. So a file added at the end of a folder makes one shard, not all of them.

mod compile;
mod estimate;
mod expand;
mod explain;
mod listing;
mod reads;
mod show;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use compile::{PlanIssue, compile};
pub use estimate::{NodeEstimate, estimate, keys};
pub use expand::{Expansion, expand};
pub use explain::{Change, Explanation, Stale, explain};
pub use listing::{Listing, Sample, list_sources, slices};
pub(crate) use listing::{row_hashes, slice_digest};
pub use show::to_dot;

use crate::catalog::{NodeEdge, PlanRecord};
use crate::digest::{Fingerprint, Hasher, Seed};
use crate::manifest::{Manifest, StageSettings};
use crate::stage::{Bounds, Mapping, NodeDecl};

/// A validated, compiled manifest.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was compiled from.
    pub manifest: Manifest,
    /// In topological order: whatever a node reads stands before it.
    pub nodes: Vec<PlanNode>,
}

/// A node of the plan.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// `collect.scan`, or the stage's own name for its last node.
    pub name: String,
    /// The stage it belongs to.
    pub stage: String,
    /// The stage's kind.
    pub kind: String,
    /// What the kind declared.
    pub decl: NodeDecl,
    /// The stage's common keys.
    pub settings: StageSettings,
    /// Where each of `decl.reads` comes from, in the same order.
    pub reads: Vec<ResolvedRead>,
    /// Longest way from a source.
    pub depth: u32,
    /// Each field of the fingerprint, for `plan --explain`.
    pub fields: Value,
    /// Hash of `fields`.
    pub own_fingerprint: Fingerprint,
    /// The same, unless old shards were adopted in its place.
    pub fingerprint: Fingerprint,
}

/// A table that a node reads, with the nodes that write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRead {
    /// The table.
    pub table: String,
    /// The nodes, in plan order; more than one only for `ReadFrom::Every`.
    pub from: Vec<String>,
    /// Which of their shards.
    pub mapping: Mapping,
}

impl Plan {
    /// The seed at the root of the tree.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed(self.manifest.seed)
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&PlanNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The nodes of a stage; empty when there is no such stage.
    #[must_use]
    pub fn nodes_of_stage(&self, stage: &str) -> Vec<String> {
        self.nodes.iter().filter(|node| node.stage == stage).map(|node| node.name.clone()).collect()
    }

    /// Node → the longest way from it to a node that nobody reads, in nodes.
    #[must_use]
    pub fn ways_left(&self) -> BTreeMap<&str, u32> {
        let mut ways: BTreeMap<&str, u32> = BTreeMap::new();
        // Who reads a node stands behind it.
        for node in self.nodes.iter().rev() {
            let own = *ways.entry(node.name.as_str()).or_default();
            for from in node.reads.iter().flat_map(|read| &read.from) {
                let way = ways.entry(from.as_str()).or_default();
                *way = (*way).max(own + 1);
            }
        }
        ways
    }

    /// Hash over all nodes and the listings of their sources.
    #[must_use]
    pub fn fingerprint(&self, listings: &BTreeMap<String, Listing>) -> Fingerprint {
        let mut hasher = Hasher::new("plan/v1");
        for node in &self.nodes {
            hasher = hasher.text("node", &node.name).bytes("fingerprint", node.fingerprint.as_bytes());
            if let Some(listing) = listings.get(&node.name) {
                hasher =
                    hasher.bytes("listing", listing.digest.as_bytes()).number("rows", node.settings.shard_rows.into());
            }
        }
        hasher.fingerprint()
    }

    /// The plan as the catalog keeps it.
    #[must_use]
    pub fn record(&self, listings: &BTreeMap<String, Listing>) -> PlanRecord {
        let nodes = self
            .nodes
            .iter()
            .map(|node| {
                json!({
                    "name": node.name,
                    "stage": node.stage,
                    "kind": node.kind,
                    "fingerprint": node.fingerprint,
                    "own_fingerprint": node.own_fingerprint,
                    "fields": node.fields,
                    "listing": listings.get(&node.name).map(|listing| json!({
                        "digest": listing.digest,
                        "n_rows": listing.n_rows(),
                        "shard_rows": node.settings.shard_rows,
                    })),
                })
            })
            .collect();
        PlanRecord {
            fingerprint: self.fingerprint(listings),
            manifest: self.manifest.text.clone(),
            nodes: Value::Array(nodes),
        }
    }

    /// Who waits for whom.
    #[must_use]
    pub fn edges(&self) -> Vec<NodeEdge> {
        let mut edges: Vec<NodeEdge> = Vec::new();
        for node in &self.nodes {
            // Where the listing says it all, its shards need not be given all shards upstream, each of them.
            let is_complete = matches!(&node.decl.bounds, Bounds::Barrier(lister) if lister.is_complete());
            for read in &node.reads {
                let mapping = if is_complete { Mapping::Same } else { read.mapping };
                for from in &read.from {
                    let same =
                        |edge: &&mut NodeEdge| edge.from == *from && edge.to == node.name && edge.mapping == mapping;
                    match edges.iter_mut().find(same) {
                        Some(edge) => edge.tables.push(read.table.clone()),
                        None => edges.push(NodeEdge {
                            from: from.clone(),
                            to: node.name.clone(),
                            tables: vec![read.table.clone()],
                            mapping,
                        }),
                    }
                }
            }
        }
        edges
    }
}
