//! What a stage is given to work with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};

use super::error::WorkError;
use crate::digest::{Digest, Seed};
use crate::dropped::Dropped;
use crate::frame;
use crate::storage::Storage;

/// Set when the run is stopping. Long work looks at it now and then, and returns [`WorkError::Cancelled`].
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For use with `?` inside loops.
    ///
    /// # Errors
    /// [`WorkError::Cancelled`] when a stop was asked for.
    pub fn check(&self) -> Result<(), WorkError> {
        if self.is_cancelled() { Err(WorkError::Cancelled) } else { Ok(()) }
    }
}

/// A committed shard of an upstream table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShard {
    /// The shard's row in the catalog.
    pub shard_id: i64,
    /// The node that made it.
    pub node: String,
    /// Its index in that node.
    pub shard_index: u32,
    /// The table.
    pub table: String,
    /// The file, relative to the storage root.
    pub path: String,
    /// The file's digest.
    pub digest: Digest,
    /// Digest of the file that was committed: another one where pictures of rejected rows were dropped since.
    pub content: Digest,
    /// The file's size.
    pub n_bytes: u64,
    /// The file's rows.
    pub n_rows: u64,
}

impl InputShard {
    /// Whether the file is as it was committed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.digest == self.content
    }
}

/// Inputs, seed and surroundings of one work item.
pub struct WorkContext {
    /// The node's name.
    pub node: String,
    /// The shard's index, for messages only.
    pub shard_index: u32,
    /// The run's seed; draw from a child of it named by the row's id.
    pub seed: Seed,
    /// The files of the project.
    pub storage: Arc<dyn Storage>,
    /// A folder of this attempt's own for temporary files, emptied afterwards.
    pub scratch: PathBuf,
    /// Committed shards read, by table, ordered by node and shard index.
    pub inputs: BTreeMap<String, Vec<InputShard>>,
    /// Set when the run is stopping.
    pub cancel: Cancel,
}

impl WorkContext {
    /// The input shards of `table`; empty when the node does not read it.
    #[must_use]
    pub fn shards(&self, table: &str) -> &[InputShard] {
        self.inputs.get(table).map_or(&[], Vec::as_slice)
    }

    /// Reads one input shard, `columns` of it only when given.
    ///
    /// # Errors
    /// [`WorkError::Damaged`] when the file is missing, truncated or not the Parquet file that was committed;
    /// [`WorkError::Dropped`] when a column of pictures is asked for of which some were dropped.
    pub fn read(&self, shard: &InputShard, columns: Option<&[String]>) -> Result<DataFrame, WorkError> {
        self.require_pictures(std::slice::from_ref(shard), columns)?;
        let damaged = damaged(shard);
        let n_bytes = self.storage.size(&shard.path).map_err(|error| damaged(error.to_string()))?;
        if n_bytes != shard.n_bytes {
            return Err(damaged(format!("has {n_bytes} bytes, {} were committed", shard.n_bytes)));
        }
        let file = self.storage.open(&shard.path).map_err(|error| damaged(error.to_string()))?;
        let rows = frame::read(file, columns).map_err(|error| damaged(error.to_string()))?;
        if rows.height() as u64 == shard.n_rows {
            Ok(rows)
        } else {
            Err(damaged(format!("has {} rows, {} were committed", rows.height(), shard.n_rows)))
        }
    }

    /// Which pictures of an input shard were dropped since it was committed.
    ///
    /// # Errors
    /// [`WorkError::Damaged`] when its file does not tell.
    pub fn dropped(&self, shard: &InputShard) -> Result<Dropped, WorkError> {
        if shard.is_whole() {
            return Ok(Dropped::default());
        }
        let damaged = damaged(shard);
        let file = self.storage.open(&shard.path).map_err(|error| damaged(error.to_string()))?;
        Dropped::of(file).map_err(|error| damaged(error.to_string()))
    }

    /// Names all of `shards` at once that must be made again before `columns` of them can be read.
    fn require_pictures(&self, shards: &[InputShard], columns: Option<&[String]>) -> Result<(), WorkError> {
        let mut needed = Vec::new();
        for shard in shards {
            if self.dropped(shard)?.any(columns) {
                needed.push(shard.shard_id);
            }
        }
        match shards.first() {
            Some(shard) if !needed.is_empty() => Err(WorkError::Dropped { table: shard.table.clone(), shards: needed }),
            _ => Ok(()),
        }
    }

    /// Reads all input shards of `table`, one below the other, `columns` of it only when given.
    ///
    /// # Errors
    /// As [`Self::read`]; [`WorkError::Systemic`] when the node has no such input.
    pub fn table(&self, table: &str, columns: Option<&[&str]>) -> Result<DataFrame, WorkError> {
        let columns: Option<Vec<String>> = columns.map(|names| names.iter().map(ToString::to_string).collect());
        self.require_pictures(self.shards(table), columns.as_deref())?;
        let mut rows: Option<DataFrame> = None;
        for shard in self.shards(table) {
            self.cancel.check()?;
            let shard = self.read(shard, columns.as_deref())?;
            match &mut rows {
                Some(rows) => {
                    rows.vstack_mut(&shard)?;
                }
                None => rows = Some(shard),
            }
        }
        rows.ok_or_else(|| WorkError::Systemic(format!("{} has no input table `{table}`", self.node)))
    }
}

/// What is wrong with the file of `shard`.
fn damaged(shard: &InputShard) -> impl Fn(String) -> WorkError {
    move |message| WorkError::Damaged { shard_id: shard.shard_id, path: shard.path.clone(), message }
}
