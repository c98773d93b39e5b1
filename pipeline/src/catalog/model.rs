//! The records that pass between pipeline and catalog.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, Fingerprint, Hasher};
use crate::stage::{Cost, ErrorClass, InputShard, Mapping};

/// A run's row in the catalog.
pub type RunId = i64;
/// A worker's row in the catalog.
pub type WorkerId = i64;

/// Shard index of the item that opens a barrier: it makes the listing by which the node is cut.
pub const OPENING: i64 = -1;

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
    /// From 0, or [`OPENING`].
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

/// Shards of `to` wait for shards of `from`: shard k for shard k, or each for all (an [`OPENING`] item of `from` counts
/// among all, and is not part of `Same`). The opening item of `to`, if it has one, waits for all of `from` whatever the
/// mapping; the other shards of a barrier node wait for that opening item and for nothing else, and read what it read.
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

/// A worker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Name of the host.
    pub host: String,
    /// Identity of the host's boot: process ids mean nothing across boots.
    pub boot_id: String,
    /// Process id.
    pub pid: u32,
    /// When the process started, in the kernel's ticks: process ids are reused.
    pub pid_start: u64,
    /// The plan it runs.
    pub plan: Fingerprint,
    /// Its run.
    pub run: RunId,
    /// Its leases end this long after the last heartbeat.
    pub lease_ms: u64,
}

/// A worker that is not known to be dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveWorker {
    /// Its row.
    pub worker_id: WorkerId,
    /// Name of the host.
    pub host: String,
    /// Identity of the host's boot.
    pub boot_id: String,
    /// Process id.
    pub pid: u32,
    /// When the process started.
    pub pid_start: u64,
    /// The plan it runs.
    pub plan: Fingerprint,
    /// Time since its last heartbeat.
    pub silent_ms: u64,
    /// Its lease time.
    pub lease_ms: u64,
}

/// A wish for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// Nodes wanted. Empty: none.
    pub nodes: Vec<String>,
    /// At most so many.
    pub limit: u32,
    /// `(i, n)`: only shards with `index % n == i`, and opening items when `i` is 0.
    pub part: Option<(u32, u32)>,
}

/// A leased shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkItem {
    /// The shard's row.
    pub shard_id: i64,
    /// What tells it apart.
    pub key: ShardKey,
    /// Fencing token: part of the file names, checked at commit.
    pub token: u64,
    /// For shards of source and barrier nodes.
    pub slice: Option<ListingSlice>,
    /// Committed shards to read.
    pub inputs: Vec<InputShard>,
    /// Attempts before this one since the shard last became pending, which failed transiently.
    pub n_tries: u32,
    /// Attempts whose process died or hung.
    pub n_deaths: u32,
    /// Micro-batch to use instead of the stage's own, after the memory ran out.
    pub micro_batch: Option<u32>,
}

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
}

/// Digest of all files of a shard, of their bytes and not of their names, which hold the fencing token: what its readers
/// are known to have been made from.
#[must_use]
pub fn shard_digest(files: &[ShardFile]) -> Digest {
    let hasher = Hasher::new("shard-files/v1").number("n", files.len() as u64);
    let add =
        |hasher: Hasher, file: &ShardFile| hasher.text("table", &file.table).bytes("digest", file.digest.as_bytes());
    files.iter().fold(hasher, add).digest()
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
    /// When it began.
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
