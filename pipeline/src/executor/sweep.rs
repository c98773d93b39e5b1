//! Removes files that nothing points at: what dead attempts left behind.

use std::collections::HashSet;
use std::sync::Arc;

use super::report::{Ending, RunReport};
use super::shared::Shared;
use crate::catalog::{CatalogError, WorkerId};
use crate::failpoint::{FailPoint, try_pass};
use crate::storage::Storage;

/// Removes orphans, when no other worker lives.
///
/// The order matters: a file of the snapshot belongs to a worker that registered before it was taken. If no other lives
/// after the snapshot, all of them have ended, and what they committed is among the known paths.
pub(super) async fn sweep(shared: &Shared, own: WorkerId, report: &RunReport) -> Result<(), SweepError> {
    let storage = Arc::clone(&shared.storage);
    let snapshot = tokio::task::spawn_blocking(move || storage.list("")).await.map_err(|_| SweepError::Cancelled)??;
    if shared.catalog.workers().await?.iter().any(|worker| worker.worker_id != own) {
        return Ok(());
    }
    let known: HashSet<String> = shared.catalog.known_paths().await?.into_iter().collect();
    let nothing_left = report.ending == Ending::Done
        && report.nodes.iter().all(|node| node.n_pending + node.n_running + node.n_failed == 0);
    // Journals of shards to come are what a resumed run lives on; a preview's are for the full run.
    let journals_are_done = nothing_left && shared.options.sample.is_none();
    let orphans = snapshot.into_iter().filter(|path| is_orphan(path, &known, journals_are_done));
    let storage: &dyn Storage = shared.storage.as_ref();
    for path in orphans {
        try_pass(FailPoint::SweepRemoving)?;
        storage.remove(&path)?;
        try_pass(FailPoint::SweepRemoved)?;
    }
    if let Err(error) = std::fs::remove_dir_all(storage.root().join("scratch"))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error.into());
    }
    Ok(())
}

fn is_orphan(path: &str, known: &HashSet<String>, journals_are_done: bool) -> bool {
    let folder = path.split('/').next().unwrap_or_default();
    match folder {
        // Releases and trained weights are taken back by people only.
        "releases" | "weights" => path.ends_with(".tmp"),
        "journal" => journals_are_done,
        "scratch" => true,
        "shards" | "listings" => !known.contains(path),
        _ => false,
    }
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Storage(#[from] std::io::Error),
    #[error("cancelled")]
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_points_at_goes() {
        let known = HashSet::from(["shards/scan/scanned-00000.3.parquet".to_owned()]);
        let orphan = |path: &str| is_orphan(path, &known, false);
        assert!(!orphan("shards/scan/scanned-00000.3.parquet"));
        assert!(orphan("shards/scan/scanned-00000.2.parquet"));
        assert!(orphan("shards/scan/scanned-00001.4.parquet.tmp"));
        assert!(!orphan("releases/pets-1a2b3c4d/data/train-00000-of-00001.parquet"));
        assert!(!orphan("journal/measure-0123/abc.4"));
        assert!(is_orphan("journal/measure-0123/abc.4", &known, true));
        assert!(!orphan("notes.txt"), "what we did not make is not ours to remove");
        assert!(!is_orphan("previews/synthesize/1.jpg", &known, true), "whoever adds one takes the oldest away");
    }
}
