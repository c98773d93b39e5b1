//! What the catalog tells: states, counts, costs, lineage.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ListingSlice, QuarantineRow, RowCounts, RunId, ShardFile, ShardKey, WorkerId};
use crate::digest::Digest;
use crate::stage::Cost;

/// State of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// To be made.
    Pending,
    /// Leased.
    Running,
    /// Made, and durable.
    Committed,
    /// Given up, until the next run.
    Failed,
    /// Not part of the current plan.
    Retired,
}

impl ShardState {
    /// The name stored in the catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }
}

/// Counts of a node of the current plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProgress {
    /// The node.
    pub node: String,
    /// Shards waiting or ready.
    pub n_pending: u64,
    /// Of those, shards ready or backing off: waiting for no input.
    pub n_ready: u64,
    /// Shards leased.
    pub n_running: u64,
    /// Shards made.
    pub n_committed: u64,
    /// Shards given up.
    pub n_failed: u64,
    /// Rows of the committed shards.
    pub rows: RowCounts,
    /// Rows written to the first table.
    pub n_out: u64,
    /// Bytes of its files.
    pub n_bytes: u64,
    /// Wall time of all attempts.
    pub wall_ms: u64,
    /// Cost of all attempts.
    pub cost: Cost,
    /// Soonest end of a back-off among ready shards, from now; 0 when one can be claimed at once.
    pub next_ready_ms: Option<u64>,
}

/// A shard of the current plan, with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Its row.
    pub shard_id: i64,
    /// What tells it apart.
    pub key: ShardKey,
    /// Its state.
    pub state: ShardState,
    /// Where its rows went, once committed.
    pub rows: RowCounts,
    /// Its files, once committed, the first table first.
    pub files: Vec<ShardFile>,
    /// For shards of source and barrier nodes.
    pub slice: Option<ListingSlice>,
    /// What made it.
    pub backend: Option<String>,
    /// The last attempt's message, when it did not commit.
    pub message: Option<String>,
}

/// A row in quarantine, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEntry {
    /// The node.
    pub node: String,
    /// The shard's index.
    pub shard_index: i64,
    /// The row.
    #[serde(flatten)]
    pub row: QuarantineRow,
}

/// One attempt: what was done, and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The attempt's row.
    pub attempt_id: i64,
    /// The shard; an earlier plan's shard of the same node and index is another.
    pub shard_id: i64,
    /// The node.
    pub node: String,
    /// The shard's index.
    pub shard_index: i64,
    /// The run.
    pub run: RunId,
    /// The worker.
    pub worker: WorkerId,
    /// `running`, `committed`, `released`, `retried`, `failed`, `shrunk`, `hung`, `lost`.
    pub outcome: String,
    /// When its work began; as long as it runs, when it was leased.
    pub started_ms: i64,
    /// How long it took; for a lost one, up to its last heartbeat.
    pub wall_ms: u64,
    /// What it cost.
    pub cost: Cost,
    /// Rows treated, when it committed.
    pub n_done: u64,
    /// What it ran on, when it committed.
    pub backend: Option<String>,
    /// Why it did not commit.
    pub message: Option<String>,
}

/// How fast a node was, over all its committed attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The node.
    pub node: String,
    /// Rows read.
    pub n_in: u64,
    /// Rows written to the first table.
    pub n_out: u64,
    /// Bytes written.
    pub n_bytes: u64,
    /// Wall time.
    pub wall_ms: u64,
    /// Device time.
    pub device_ms: u64,
}

/// A file read to make a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageEntry {
    /// The shard read.
    pub input_shard_id: i64,
    /// Its node.
    pub node: String,
    /// Its index.
    pub shard_index: i64,
    /// Digest of all its files, as they were read.
    pub digest: Digest,
}

/// Something worth telling later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When, by the catalog's clock; ignored when recorded.
    pub at_ms: i64,
    /// The run.
    pub run: Option<RunId>,
    /// `plan_applied`, `shard_damaged`, `breaker_opened`, …
    pub kind: String,
    /// The rest.
    pub detail: Value,
}
