//! Looks at all files of a project: shards, listings, releases, and what nothing points at.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::facts::{FileFacts, NodeFacts, ReleaseFacts};
use super::ids::Keys;
use super::inspect::{Task, first_line, inspect_all};
use super::release;
use super::report::{Orphans, Verdicts};
use crate::catalog::{ReleaseRecord, ShardStatus};
use crate::frame;
use crate::plan::Listing;
use crate::storage::Storage;

/// The table in which filters say what they decided.
const VERDICTS: &str = "verdicts";

/// What is to be looked at.
pub(super) struct Look {
    pub(super) nodes: Vec<NodeFacts>,
    /// Nodes whose ids need not be unique.
    pub(super) parts: BTreeSet<String>,
    pub(super) shards: Vec<ShardStatus>,
    pub(super) releases: Vec<ReleaseRecord>,
    pub(super) verify: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<String, FileFacts>,
    pub(super) listings: BTreeMap<String, Result<u64, String>>,
    pub(super) keys: BTreeMap<(String, String), Keys>,
    pub(super) verdicts: BTreeMap<String, Verdicts>,
    pub(super) releases: Vec<ReleaseFacts>,
}

impl Look {
    pub(super) fn look(&self, storage: &dyn Storage) -> Found {
        let mut found = Found::default();
        let committed = || self.shards.iter().flat_map(|shard| shard.files.iter().map(move |file| (shard, file)));
        let tasks: Vec<Task> = committed()
            .map(|(shard, file)| Task {
                path: file.path.clone(),
                digest: file.digest,
                verify: self.verify,
                keys: !self.parts.contains(&shard.key.node),
                verdicts: file.table == VERDICTS,
            })
            .collect();
        for ((shard, file), inspection) in committed().zip(inspect_all(storage, &tasks)) {
            let node = &shard.key.node;
            found.files.insert(file.path.clone(), inspection.file);
            if !inspection.keys.is_empty() {
                let keys = found.keys.entry((node.clone(), file.table.clone())).or_default();
                keys.add(shard.key.shard_index, &inspection.keys);
            }
            if let Some(verdicts) = inspection.verdicts {
                let sum = found.verdicts.entry(node.clone()).or_default();
                sum.n_accepted += verdicts.n_accepted;
                for (reason, n_rows) in verdicts.rejected {
                    *sum.rejected.entry(reason).or_default() += n_rows;
                }
            }
        }
        let listings: BTreeSet<&str> =
            self.shards.iter().filter_map(|shard| shard.slice.as_ref()).map(|slice| slice.path.as_str()).collect();
        for path in listings {
            found.listings.insert(path.to_owned(), listing(storage, path, self.verify));
        }
        found.releases = self
            .releases
            .iter()
            .map(|record| ReleaseFacts {
                record: record.clone(),
                faults: release::faults(storage, record, self.verify),
            })
            .collect();
        found
    }
}

/// The rows of a listing, which is named after them.
fn listing(storage: &dyn Storage, path: &str, verify: bool) -> Result<u64, String> {
    let file = || storage.open(path).map_err(|error| error.to_string());
    if !verify {
        return frame::n_rows(file()?).map_err(|error| first_line(&error));
    }
    let listing = Listing::new(frame::read(file()?, None).map_err(|error| first_line(&error))?);
    if listing.path() == path {
        Ok(listing.n_rows())
    } else {
        Err("its rows are not those it is named after".to_owned())
    }
}

/// Files of `stored` that `known` does not have. Journals and scratch files belong to runs, releases to people.
pub(super) fn orphans(storage: &dyn Storage, stored: &[String], known: &HashSet<String>) -> Orphans {
    let mut orphans = Orphans::default();
    for path in stored {
        let folder = path.split('/').next().unwrap_or_default();
        if !matches!(folder, "shards" | "listings") || known.contains(path) {
            continue;
        }
        // Gone in the meantime: somebody swept.
        let Ok(n_bytes) = storage.size(path) else { continue };
        orphans.n_files += 1;
        orphans.n_bytes += n_bytes;
        if orphans.examples.len() < 5 {
            orphans.examples.push(path.clone());
        }
    }
    orphans
}
