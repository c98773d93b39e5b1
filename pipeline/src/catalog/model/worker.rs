//! Worker processes, and the work that they lease.

use serde::{Deserialize, Serialize};

use super::{ListingSlice, RunId, ShardKey, WorkerId};
use crate::digest::Fingerprint;
use crate::stage::InputShard;

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
    /// Nodes wanted, of equally deep ones those first that are to come first. Empty: none.
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
