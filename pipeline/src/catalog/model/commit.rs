//! Ends of attempts: what a finished shard leaves behind, and how others end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ListingSlice, ShardBatch, WorkerId};
use crate::digest::{Digest, Hasher};
use crate::stage::{Cost, ErrorClass, Kept};

/// Where every row of a shard went. `n_in = n_done + n_quarantined + n_duplicate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows read.
    pub n_in: u64,
    /// Rows treated.
    pub n_done: u64,
    /// Rows at fault.
    pub n_quarantined: u64,
    /// Rows that stand elsewhere.
    pub n_duplicate: u64,
}

impl RowCounts {
    /// Whether every row is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.n_in == self.n_done + self.n_quarantined + self.n_duplicate
    }
}

/// A file of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFile {
    /// The table.
    pub table: String,
    /// Relative to the storage root.
    pub path: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Its size.
    pub n_bytes: u64,
    /// Its rows.
    pub n_rows: u64,
    /// What was committed, where pictures of rejected rows were dropped since; `None` for a file that is as it was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted: Option<Compacted>,
}

impl ShardFile {
    /// Digest of the bytes that were committed: dropped pictures do not make other rows of those that they were dropped from.
    #[must_use]
    pub fn content(&self) -> Digest {
        self.compacted.map_or(self.digest, |compacted| compacted.digest)
    }
}

/// A file as it was committed, of one that was compacted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// What was kept of rejected rows.
    pub kept: Kept,
    /// Of the bytes that were committed.
    pub digest: Digest,
    /// Their number.
    pub n_bytes: u64,
}

/// Digest of all files of a shard, of the bytes that were committed and not of their names, which hold the fencing token: what its
/// readers are known to have been made from.
#[must_use]
pub fn shard_digest(files: &[ShardFile]) -> Digest {
    let hasher = Hasher::new("shard-files/v1").number("n", files.len() as u64);
    let add =
        |hasher: Hasher, file: &ShardFile| hasher.text("table", &file.table).bytes("digest", file.content().as_bytes());
    files.iter().fold(hasher, add).digest()
}

/// A file that takes the place of a committed one: the same rows, without pictures that can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Who wrote it.
    pub worker: WorkerId,
    /// The shard.
    pub shard_id: i64,
    /// The file whose place it takes.
    pub old_path: String,
    /// Relative to the storage root.
    pub path: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Its size.
    pub n_bytes: u64,
    /// What was kept of rejected rows.
    pub kept: Kept,
}

/// A row in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// Position in the shard.
    pub row: u64,
    /// Its id or path.
    pub row_id: String,
    /// What it is filed under.
    pub class: ErrorClass,
    /// What was wrong.
    pub message: String,
}

/// A change to the catalog that belongs to a shard and is committed with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// A release came into being.
    Release(ReleaseRecord),
    /// Accepted units, for lookup by id.
    Quadruplets(Vec<QuadrupletRow>),
}

/// A published dataset version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// `name-digest`.
    pub release_id: String,
    /// The name in the manifest.
    pub name: String,
    /// Folder, relative to the storage root.
    pub path: String,
    /// Of `release.json`.
    pub digest: Digest,
    /// Rows.
    pub n_rows: u64,
    /// What `release.json` says.
    pub summary: Value,
}

/// An accepted unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuadrupletRow {
    /// Its id.
    pub quadruplet_id: String,
    /// The candidate, or the reference where there are no candidates.
    pub candidate_id: String,
    /// The reference image.
    pub reference_id: String,
    /// The round that made it.
    pub round: u32,
    /// The release it is in.
    pub release_id: String,
}

/// All that a finished shard leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The shard.
    pub shard_id: i64,
    /// The token it was leased with.
    pub token: u64,
    /// Its files, the first table first.
    pub files: Vec<ShardFile>,
    /// Where its rows went.
    pub counts: RowCounts,
    /// Rows in quarantine: `counts.n_quarantined` of them.
    pub quarantine: Vec<QuarantineRow>,
    /// What it cost.
    pub cost: Cost,
    /// From the lease to the begin of the work: the ledger says when that was.
    pub queued_ms: u64,
    /// Wall time of the attempt.
    pub wall_ms: u64,
    /// What it ran on: `cpu`, `onnxruntime`, `cuda:0`, …
    pub backend: String,
    /// Changes to the catalog.
    pub effects: Vec<Effect>,
    /// For an opening item: the slices found (kept for `find_opening`) and the shards that come into being.
    pub opened: Option<(Vec<ListingSlice>, ShardBatch)>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable.
    Committed,
    /// The lease was lost in the meantime: nothing was changed, and the files are orphans.
    LeaseLost,
}

/// An attempt that ends without a commit. Does nothing when the lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// The shard.
    pub shard_id: i64,
    /// The token it was leased with.
    pub token: u64,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why, for a person.
    pub message: String,
    /// From the lease to the begin of the work: the ledger says when that was.
    pub queued_ms: u64,
    /// Wall time of the attempt.
    pub wall_ms: u64,
    /// What it cost all the same.
    pub cost: Cost,
}

/// How an attempt ended that did not commit, and what follows for the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Given back undone (a stop, a lost input): pending, nothing counted.
    Released,
    /// Pending again after so long; `n_tries` grows.
    Retry {
        /// Back-off.
        after_ms: u64,
    },
    /// Tried often enough: failed.
    Failed,
    /// The memory ran out: pending with this micro-batch.
    Shrink {
        /// Rows per batch from now on.
        micro_batch: u32,
    },
    /// Hung: pending, and counted as a death that leads to isolation at once (`n_deaths` becomes at least 2).
    Hung,
}
