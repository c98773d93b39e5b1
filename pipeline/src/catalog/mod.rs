//! What the pipeline needs of a catalog. Implementations live in their own crate; each passes the same conformance suite.
//!
//! A catalog serves one project and any number of worker processes at once. Every method is one transaction.
//! Times are the catalog's own clock, in milliseconds since the Unix epoch: workers' clocks are never compared.

mod model;

use std::sync::Arc;

use async_trait::async_trait;
pub use model::*;

use crate::stage::InputShard;

/// Why the catalog could not do it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Busy beyond the patience of the driver, or the connection was lost; worth trying again.
    #[error("the catalog is busy or away: {0}")]
    Transient(String),
    /// No space left for the catalog.
    #[error("no space left for the catalog: {0}")]
    DiskFull(String),
    /// The catalog cannot be used as it is: wrong place, newer version, damaged.
    #[error("{message}")]
    Unusable {
        /// What is wrong, and where.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// Another live run holds this catalog with a different plan.
    #[error("worker {worker} (process {pid} on {host}) is running another plan of this project")]
    OtherPlanRunning {
        /// The other worker.
        worker: i64,
        /// Its process id.
        pid: u32,
        /// Its host.
        host: String,
    },
    /// A defect: a statement that should work did not.
    #[error("catalog: {0}")]
    Internal(String),
}

/// Result of a catalog operation.
pub type Result<T> = std::result::Result<T, CatalogError>;

/// The control plane of a project. Shared as `Arc<dyn Catalog>`.
#[async_trait]
pub trait Catalog: Send + Sync {
    // --- plans and runs ---------------------------------------------------------------------------------------------

    /// Makes `plan` the current one. Shards that exist with the same (node, index, fingerprint) keep their state; a
    /// retired one comes back, committed if it was committed; new ones are pending; all others are retired. Edges are
    /// laid (see [`NodeEdge`]), and each pending shard counts the inputs it still waits for. A failed shard becomes
    /// pending again, with its attempts counted anew; so does a shard whose input was made again with another digest.
    /// Doing it twice changes nothing.
    async fn apply_plan(&self, plan: &PlanRecord, batch: &ShardBatch) -> Result<PlanApplied>;

    /// The plan that was applied last.
    async fn current_plan(&self) -> Result<Option<PlanRecord>>;

    /// Of `shards` (node, index, fingerprint), which are committed already, retired ones included, with the row counts.
    /// In the order asked; `None` for one to be made.
    async fn find_committed(&self, shards: &[ShardKey]) -> Result<Vec<Option<CommittedCounts>>>;

    /// The listing slices which the opening item (see [`OPENING`]) with this node and fingerprint committed, if it did.
    async fn find_opening(&self, key: &ShardKey) -> Result<Option<Vec<ListingSlice>>>;

    /// Records the start of a run of the current plan.
    async fn begin_run(&self, run: &RunRecord) -> Result<RunId>;

    /// Records how a run ended.
    async fn end_run(&self, run: RunId, end: &RunEnd) -> Result<()>;

    /// Reasons for which old shards stand in for changed settings, newest last.
    async fn adoptions(&self) -> Result<Vec<Adoption>>;

    /// Records one more.
    async fn adopt(&self, adoption: &Adoption) -> Result<()>;

    // --- workers and leases -----------------------------------------------------------------------------------------

    /// Registers this process. [`CatalogError::OtherPlanRunning`] when a live worker runs another plan.
    async fn register_worker(&self, worker: &WorkerRecord) -> Result<WorkerId>;

    /// Extends all leases of the worker and brings its running attempts' ledger up to date (wall time so far). `false`
    /// when the worker was declared dead in the meantime: all its leases are lost.
    async fn heartbeat(&self, worker: WorkerId) -> Result<bool>;

    /// Takes the leases of workers that are dead: no heartbeat for their lease time, or listed in `gone` (processes of
    /// this host known to have ended). Their running shards become pending again, their attempts `lost`, and each such
    /// shard's `n_deaths` grows. Returns how many shards were taken back.
    async fn reap(&self, gone: &[WorkerId]) -> Result<u64>;

    /// The workers not yet dead or departed.
    async fn workers(&self) -> Result<Vec<LiveWorker>>;

    /// Ends this worker: leases still held go back to pending without counting as deaths.
    async fn depart(&self, worker: WorkerId) -> Result<()>;

    /// Leases up to `request.limit` shards that are ready: pending, waiting for nothing, their back-off over, of the
    /// nodes asked for. Nodes late in the plan first (`ShardRow::depth`), so that rows flow to the end; then by index, and
    /// of one index in the order in which the nodes are asked for. Raises the fencing token, opens an attempt, and returns
    /// all that is needed to work.
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<WorkItem>>;

    // --- ends of attempts -------------------------------------------------------------------------------------------

    /// Commits a shard: checks the fencing token, points the shard at its files, and writes ledger, lineage,
    /// quarantine, effects and opened shards, all or nothing. Shards that waited for it come closer to ready. If the
    /// shard had been committed before with another digest, committed shards that read it become pending again.
    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome>;

    /// Lets a smaller file take the place of a committed one. The shard stays as it is to all who read it: it keeps its
    /// fingerprint, and for lineage the digest that it was committed with. `false`, and nothing is changed, when the shard is
    /// not committed or has another file by now, or when the worker is not live: then its file may have been swept.
    async fn compact(&self, compaction: &Compaction) -> Result<bool>;

    /// Ends an attempt without a commit.
    async fn give_up(&self, end: &AttemptEnd) -> Result<()>;

    /// Marks a committed shard as damaged: it becomes pending, to be made again. What was made from it stays, unless
    /// the new bytes differ.
    async fn invalidate(&self, shard_id: i64, reason: &str) -> Result<()>;

    // --- looking ----------------------------------------------------------------------------------------------------

    /// Counts per node of the current plan.
    async fn progress(&self) -> Result<Vec<NodeProgress>>;

    /// Shards of the current plan, by node and index; of one node only when given.
    async fn shards(&self, node: Option<&str>) -> Result<Vec<ShardStatus>>;

    /// Committed files of the current plan's shards, by table, node and index.
    async fn files(&self) -> Result<Vec<InputShard>>;

    /// Paths of all files that the catalog points at, retired shards included: what a sweep must keep.
    async fn known_paths(&self) -> Result<Vec<String>>;

    /// Rows in quarantine of the current plan, by node, shard and row.
    async fn quarantine(&self) -> Result<Vec<QuarantineEntry>>;

    /// Rows in quarantine of those of `shards` that are committed, retired ones included, by node, shard and row.
    async fn quarantine_of(&self, shards: &[ShardKey]) -> Result<Vec<QuarantineEntry>>;

    /// The ledger: one entry per attempt, oldest first, all plans.
    async fn ledger(&self) -> Result<Vec<LedgerEntry>>;

    /// Measured rates per node fingerprint-independent stage kind, for estimates: see [`Rate`].
    async fn rates(&self) -> Result<Vec<Rate>>;

    /// Releases, oldest first.
    async fn releases(&self) -> Result<Vec<ReleaseRecord>>;

    /// The ids of the releases that hold the accepted unit `quadruplet_id`, oldest first.
    async fn releases_with(&self, quadruplet_id: &str) -> Result<Vec<String>>;

    /// Files read to make a shard, with the digests they had.
    async fn lineage(&self, shard_id: i64) -> Result<Vec<LineageEntry>>;

    /// Appends events.
    async fn record_events(&self, events: &[EventRecord]) -> Result<()>;

    /// The last `limit` events, oldest first.
    async fn events(&self, limit: u32) -> Result<Vec<EventRecord>>;

    /// Closes connections after writing what is queued.
    async fn close(&self);
}

/// A shared catalog.
pub type SharedCatalog = Arc<dyn Catalog>;
