//! What happens in a run, as one stream: progress bars, lines and JSON are its consumers.

use std::sync::Arc;

use serde::Serialize;

use crate::catalog::RowCounts;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan is in the catalog.
    Planned {
        /// Shards found committed.
        n_committed: u64,
        /// Shards to be made, as far as they are known.
        n_pending: u64,
        /// Shards that the plan before left and this one does not use.
        n_retired: u64,
    },
    /// A worker's leases were taken back.
    Reaped {
        /// Shards to be made again.
        n_shards: u64,
    },
    /// Rows of a running shard were finished.
    Rows {
        /// The node.
        node: String,
        /// So many.
        n_rows: u64,
    },
    /// A shard was committed.
    Committed {
        /// The node.
        node: String,
        /// Its index; −1 for the opening of a barrier.
        shard_index: i64,
        /// Where its rows went.
        rows: RowCounts,
        /// Rows written to its first table.
        n_out: u64,
        /// Of those, rows that a verdict rejects: false in a column `accepted`.
        n_rejected: u64,
        /// Wall time.
        wall_ms: u64,
    },
    /// A barrier opened: shards came into being.
    Opened {
        /// The node.
        node: String,
        /// So many of its own.
        n_shards: u64,
    },
    /// A shard will be tried again.
    Retrying {
        /// The node.
        node: String,
        /// Its index.
        shard_index: i64,
        /// After so long.
        after_ms: u64,
        /// Why.
        message: String,
    },
    /// A shard was given up until the next run.
    Failed {
        /// The node.
        node: String,
        /// Its index.
        shard_index: i64,
        /// Why.
        message: String,
    },
    /// A committed shard was found damaged, and will be made again.
    Damaged {
        /// Its file.
        path: String,
        /// What was found.
        message: String,
    },
    /// Pictures that were dropped are needed again: the shards that had them will be made again.
    PicturesNeeded {
        /// The node that needs them.
        node: String,
        /// So many.
        n_shards: u64,
        /// Which.
        message: String,
    },
    /// Pictures of rejected rows were dropped.
    PicturesDropped {
        /// The node that made them.
        node: String,
        /// From so many of its shards.
        n_shards: u64,
        /// By how much these are smaller now.
        n_bytes: u64,
    },
    /// A shard is worked on in a process of its own, since processes died of it.
    Isolated {
        /// The node.
        node: String,
        /// Its index.
        shard_index: i64,
    },
    /// A lease was lost: the shard belongs to another worker, what was made here is thrown away.
    LeaseLost {
        /// The node.
        node: String,
        /// Its index.
        shard_index: i64,
    },
    /// Nothing of a stage works; it was stopped, what is committed stays.
    Stopped {
        /// The stage.
        stage: String,
        /// Why.
        message: String,
    },
    /// What a stage needs is not there now; it waits for another run, what is committed stays.
    Waiting {
        /// The stage.
        stage: String,
        /// What is missing.
        message: String,
    },
    /// The run is stopping: no new work is begun.
    Stopping {
        /// Why.
        reason: String,
    },
}

/// Where events go. Called from many threads; must be quick.
pub type Sink = Arc<dyn Fn(&Event) + Send + Sync>;
