//! What can go wrong in a stage, sorted by what the executor does about it.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::text::counted;

/// One mistake in the keys of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigIssue {
    /// JSON pointer from the stage's table to the offending value, for example `/rules/0/min`; empty for the stage.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl ConfigIssue {
    /// An issue without advice.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), help: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Why a row was put into quarantine; what `audit` and the report group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// An image or file that cannot be decoded.
    Corrupt,
    /// Larger than a limit allows.
    TooLarge,
    /// A required value is missing or has the wrong type.
    Invalid,
    /// The file is not there, or cannot be read.
    Unreadable,
    /// A picture that nearly equals one of a benchmark, which must stay unseen in training.
    Benchmark,
    /// An external program refused the row.
    Program,
    /// The row made the stage panic.
    Panic,
    /// The row made the process die (abort, or a signal).
    Death,
    /// The row exhausted the memory.
    OutOfMemory,
    /// The row did not finish before its deadline.
    Hang,
}

impl ErrorClass {
    /// The name stored in the catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Unreadable => "unreadable",
            Self::Benchmark => "benchmark",
            Self::Program => "program",
            Self::Panic => "panic",
            Self::Death => "death",
            Self::OutOfMemory => "out_of_memory",
            Self::Hang => "hang",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why a batch, or a whole shard, could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Likely to pass when tried again: a network fault, a busy server. Tried again after a back-off; then the shard
    /// fails, but no row is quarantined for it.
    #[error("{0}")]
    Transient(String),
    /// The fault lies in some row of the batch. The batch is bisected down to it.
    #[error("{message}")]
    Poison {
        /// What the row is quarantined under, once found.
        class: ErrorClass,
        /// What was wrong.
        message: String,
    },
    /// What the stage needs is not there now, and comes without a change of the manifest: a dead server, a model that was not
    /// fetched yet. The stage waits for another run, its shards stay pending, other stages go on, and the run ends with 75.
    #[error("{0}")]
    Unavailable(String),
    /// Nothing of this stage can work here: a missing program, a refused key, wrong weights. Stops the stage.
    #[error("{0}")]
    Systemic(String),
    /// The device or the host ran out of memory; the shard is made again with half the micro-batch.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// A file of an upstream shard is missing, truncated or altered; that shard is made again.
    #[error("{path}: {message}")]
    Damaged {
        /// The upstream shard.
        shard_id: i64,
        /// Its file.
        path: String,
        /// What was found.
        message: String,
    },
    /// Pictures that were dropped from upstream shards are needed again; these shards are made again, with the same bytes.
    #[error("pictures in {} of `{table}` were dropped (`keep_rejects`), and are needed again", counted(.shards.len() as u64, "shard"))]
    Dropped {
        /// The table.
        table: String,
        /// The upstream shards, as many as are known to be needed.
        shards: Vec<i64>,
    },
    /// No space left on the device; the run stops, and the same command goes on later.
    #[error("no space left on the device: {0}")]
    DiskFull(String),
    /// The run is stopping; the work goes back, undone.
    #[error("cancelled")]
    Cancelled,
}

impl WorkError {
    /// Wraps an error of the file system, with the path.
    pub fn io(path: impl fmt::Display, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
            Self::DiskFull(format!("{path}: {error}"))
        } else {
            Self::Transient(format!("{path}: {error}"))
        }
    }

    /// A poison error.
    pub fn poison(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::Poison { class, message: message.into() }
    }
}

impl From<polars::error::PolarsError> for WorkError {
    /// An error of polars inside a stage comes from the values of its rows.
    fn from(error: polars::error::PolarsError) -> Self {
        Self::poison(ErrorClass::Invalid, error.to_string())
    }
}
