//! What an audit finds.

use std::collections::BTreeMap;

use serde::Serialize;

/// What an audit finds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuditReport {
    /// Whether every row is where the books say: there are no problems.
    pub balances: bool,
    /// Whether every file was read whole.
    pub verified: bool,
    /// The nodes, in the order of the plan.
    pub nodes: Vec<NodeAudit>,
    /// Cost by stage, in the order of the plan, over all attempts that ever were.
    pub stages: Vec<StageCost>,
    /// Rows that the last filter accepted; `None` without a filter, or before it ran.
    pub n_accepted: Option<u64>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth knowing, and not wrong.
    pub notes: Vec<String>,
    /// Files that nothing points at.
    pub orphans: Orphans,
    /// Releases looked at.
    pub n_releases: u64,
    /// Shards marked to be made again.
    pub n_invalidated: u64,
}

impl AuditReport {
    /// Whether every row is where the books say, and every file as it was committed.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.balances
    }
}

/// Rows of a node: `n_in = n_done + n_quarantined + n_duplicate + n_pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeAudit {
    /// The node.
    pub node: String,
    /// Its stage.
    pub stage: String,
    /// Shards made.
    pub n_committed: u64,
    /// Shards waiting, or at work.
    pub n_pending_shards: u64,
    /// Shards given up.
    pub n_failed_shards: u64,
    /// Rows read, and those still to be read as far as they are known.
    pub n_in: u64,
    /// Rows treated.
    pub n_done: u64,
    /// Rows at fault.
    pub n_quarantined: u64,
    /// Rows that stand elsewhere.
    pub n_duplicate: u64,
    /// Rows of shards that are not made.
    pub n_pending: u64,
    /// Of those shards, how many of which the number of rows is not known yet.
    pub n_unknown_shards: u64,
    /// Rows written to the first table.
    pub n_out: u64,
    /// Bytes of all files.
    pub n_bytes: u64,
    /// Rows in quarantine by what they are filed under.
    pub quarantined: BTreeMap<String, u64>,
    /// What a filter decided.
    pub verdicts: Option<Verdicts>,
}

/// Rows accepted and rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// Rows accepted.
    pub n_accepted: u64,
    /// Rows rejected, by the first rule that failed.
    pub rejected: BTreeMap<String, u64>,
}

/// What a stage cost, in all attempts of all plans.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageCost {
    /// The stage.
    pub stage: String,
    /// Attempts, those at work included.
    pub n_attempts: u64,
    /// Of those, attempts that ended without a commit.
    pub n_lost: u64,
    /// Wall time of all attempts.
    pub wall_ms: u64,
    /// Of that, wall time of those without a commit.
    pub lost_wall_ms: u64,
    /// Device time of all attempts.
    pub device_ms: u64,
    /// Of that, device time of those without a commit.
    pub lost_device_ms: u64,
    /// Tokens read by language models.
    pub prompt_tokens: u64,
    /// Tokens written by language models.
    pub completion_tokens: u64,
    /// Wall time per accepted row; `None` while none is.
    pub wall_secs_per_accepted: Option<f64>,
    /// Device time per accepted row; `None` while none is.
    pub device_secs_per_accepted: Option<f64>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What sort of thing.
    pub kind: ProblemKind,
    /// The node.
    pub node: Option<String>,
    /// The shard.
    pub shard_index: Option<i64>,
    /// The file, relative to the storage root.
    pub path: Option<String>,
    /// What is wrong, with both numbers.
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// What `audit --verify` does about it.
    pub repairs: Vec<Repair>,
    /// Whether it was done.
    pub is_marked: bool,
}

/// Sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The catalog points at a file that is not there.
    MissingFile,
    /// A file has another size than was committed.
    WrongSize,
    /// A file is not the Parquet file that was committed.
    Unreadable,
    /// A file has other bytes than were committed.
    WrongDigest,
    /// A footer counts other rows than were committed.
    WrongRows,
    /// Rows in are not rows done, in quarantine and duplicate.
    Unbalanced,
    /// Rows in are not the rows upstream.
    WrongInput,
    /// Rows out are not what the rows done make.
    WrongFanOut,
    /// Rows are missing in the quarantine, or too many are there.
    WrongQuarantine,
    /// The catalog lacks a shard.
    MissingShard,
    /// An id stands more than once.
    DuplicateId,
    /// A shard was made from other bytes than its input has.
    WrongLineage,
    /// The listing that a node is cut by is not there, or not the one that was made.
    DamagedListing,
    /// A release is not as it was published.
    DamagedRelease,
}

/// What can be done about a problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// The shard is marked, and `run` makes it again.
    Invalidate {
        /// The shard's row.
        shard_id: i64,
    },
    /// The listing is taken away, and `run` makes it again.
    RemoveListing {
        /// The file.
        path: String,
    },
}

/// Files that nothing points at: left by attempts that died, or being written now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// How many.
    pub n_files: u64,
    /// Their size.
    pub n_bytes: u64,
    /// The first of them.
    pub examples: Vec<String>,
}
