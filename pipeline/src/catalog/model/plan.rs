//! Plans, runs, and the shards that they ask for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, Fingerprint};
use crate::stage::Mapping;

/// A plan, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Of the whole plan.
    pub fingerprint: Fingerprint,
    /// The manifest's text, so that any release can be traced to what was written.
    pub manifest: String,
    /// The plan's nodes with each field that enters their fingerprints, for `plan --explain`.
    pub nodes: Value,
}

/// Part of a listing: the rows of one shard of a source or barrier node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingSlice {
    /// The listing's Parquet file.
    pub path: String,
    /// First row.
    pub offset: u64,
    /// Number of rows.
    pub n_rows: u64,
    /// Of the rows' values.
    pub digest: Digest,
}

/// What tells shards apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// The node's name.
    pub node: String,
    /// From 0, or [`OPENING`](super::OPENING).
    pub shard_index: i64,
    /// Of everything that decides its bytes, except what upstream shards really contained.
    pub fingerprint: Fingerprint,
}

/// A shard to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// What tells it apart.
    pub key: ShardKey,
    /// How far from the sources: deeper nodes are claimed first.
    pub depth: u32,
    /// For shards of source and barrier nodes.
    pub slice: Option<ListingSlice>,
}

/// Shards of `to` wait for shards of `from`: shard k for shard k, or each for all (an [`OPENING`](super::OPENING) item of `from` counts
/// among all, and is not part of `Same`). The opening item of `to`, if it has one, waits for all of `from` whatever the
/// mapping; the other shards of a barrier node wait for that opening item and for nothing else, and read what it read along
/// edges that map all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEdge {
    /// The node read.
    pub from: String,
    /// The node that reads.
    pub to: String,
    /// The tables read along this edge.
    pub tables: Vec<String>,
    /// Which shards.
    #[serde(with = "mapping_name")]
    pub mapping: Mapping,
}

mod mapping_name {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::stage::Mapping;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(mapping: &Mapping, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match mapping {
            Mapping::Same => "same",
            Mapping::All => "all",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mapping, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "same" => Ok(Mapping::Same),
            "all" => Ok(Mapping::All),
            other => Err(serde::de::Error::custom(format!("unknown mapping `{other}`"))),
        }
    }
}

/// Shards that come into being together: those of a plan, or those behind an opened barrier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardBatch {
    /// The shards.
    pub rows: Vec<ShardRow>,
    /// All edges of the plan: with each batch the same.
    pub edges: Vec<NodeEdge>,
}

/// What applying a plan did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanApplied {
    /// Shards found committed.
    pub n_committed: u64,
    /// Shards to be made.
    pub n_pending: u64,
    /// Shards of the plan before that this one has no use for; their files stay until swept.
    pub n_retired: u64,
}

/// Row counts of a committed shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommittedCounts {
    /// Rows read.
    pub n_in: u64,
    /// Rows written to the first table.
    pub n_out: u64,
}

/// The start of a run. Version and git hash are provenance, never part of a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The plan run.
    pub plan: Fingerprint,
    /// Version of the program.
    pub version: String,
    /// The command line, without secrets.
    pub command: Vec<String>,
    /// The host.
    pub host: String,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// `done`, `interrupted`, `budget`, `failed`, …
    pub outcome: String,
    /// The exit code given.
    pub exit_code: u8,
}

/// Old shards that stand in for changed settings, because somebody said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The node.
    pub node: String,
    /// The fingerprint that the plan now has for the node.
    pub wanted: Fingerprint,
    /// The fingerprint whose shards are taken.
    pub taken: Fingerprint,
    /// Why.
    pub reason: String,
}
