//! One file: is it there, how large is it, how many rows does it have, and when all of it is read, what is in it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use polars::prelude::*;

use super::facts::FileFacts;
use super::ids;
use super::report::Verdicts;
use crate::digest::Digest;
use crate::frame;
use crate::storage::{self, Storage};

/// A file to be looked at.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) path: String,
    /// As it was committed: what stands in another file is not looked at.
    pub(super) digest: Digest,
    /// Reads it whole.
    pub(super) verify: bool,
    /// Its ids are wanted, when it is read whole.
    pub(super) keys: bool,
    /// What it says of acceptance is wanted.
    pub(super) verdicts: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Inspection {
    pub(super) file: FileFacts,
    pub(super) keys: Vec<u128>,
    pub(super) verdicts: Option<Verdicts>,
}

/// Looks at all files, as many at once as there are processors. In the order of `tasks`.
pub(super) fn inspect_all(storage: &dyn Storage, tasks: &[Task]) -> Vec<Inspection> {
    let next = AtomicUsize::new(0);
    let found: Mutex<BTreeMap<usize, Inspection>> = Mutex::default();
    // More threads would only hold more shards in memory at once.
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..n_threads.min(tasks.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(at) else { break };
                    let inspection = inspect(storage, task);
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(at, inspection);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn inspect(storage: &dyn Storage, task: &Task) -> Inspection {
    let mut inspection = Inspection { file: FileFacts::Missing, keys: Vec::new(), verdicts: None };
    inspection.file = look(storage, task, &mut inspection).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => FileFacts::Missing,
        _ => FileFacts::Unreadable(error.to_string()),
    });
    inspection
}

fn look(storage: &dyn Storage, task: &Task, found: &mut Inspection) -> io::Result<FileFacts> {
    if !task.verify {
        let file = storage.open(&task.path)?;
        let n_bytes = storage.size(&task.path)?;
        let n_rows = frame::n_rows(file).map_err(|error| first_line(&error));
        if task.verdicts && n_rows.is_ok() {
            let columns = ["accepted".to_owned(), "reason".to_owned()];
            found.verdicts =
                frame::read(storage.open(&task.path)?, Some(&columns)).and_then(|rows| verdicts(&rows)).ok();
        }
        return Ok(FileFacts::Found { n_bytes, n_rows, digest: None });
    }
    let bytes = storage::read(storage, &task.path)?;
    let (n_bytes, digest) = (bytes.len() as u64, Digest::of(&bytes));
    let is_sound = digest == task.digest;
    let n_rows = frame::from_parquet(bytes).map_err(|error| first_line(&error)).map(|rows| {
        if task.keys && is_sound {
            found.keys = ids::keys(&rows);
        }
        if task.verdicts && is_sound {
            found.verdicts = verdicts(&rows).ok();
        }
        rows.height() as u64
    });
    Ok(FileFacts::Found { n_bytes, n_rows, digest: Some(digest) })
}

pub(super) fn first_line(error: &PolarsError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Counts the rows of a table of verdicts by what was decided.
fn verdicts(rows: &DataFrame) -> PolarsResult<Verdicts> {
    let mut verdicts = Verdicts::default();
    let (accepted, reasons) = (rows.column("accepted")?.bool()?, rows.column("reason")?.str()?);
    for (accepted, reason) in accepted.iter().zip(reasons.iter()) {
        if accepted == Some(true) {
            verdicts.n_accepted += 1;
        } else {
            *verdicts.rejected.entry(reason.unwrap_or("no reason").to_owned()).or_default() += 1;
        }
    }
    Ok(verdicts)
}
