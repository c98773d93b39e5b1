//! A project of three nodes with real files, and each kind of damage done to it.

mod damage;
mod repairs;
mod sums;
mod whole;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use polars::prelude::*;

use super::facts::{Facts, NodeFacts, RowsFrom};
use super::files::{Look, orphans};
use super::judge::judge;
use super::report::{AuditReport, ProblemKind};
use crate::catalog::{
    LineageEntry, ListingSlice, QuarantineEntry, QuarantineRow, ReleaseRecord, RowCounts, ShardFile, ShardKey,
    ShardState, ShardStatus, shard_digest,
};
use crate::digest::{Digest, Hasher};
use crate::frame;
use crate::plan::Listing;
use crate::stage::ErrorClass;
use crate::storage::{LocalStorage, Storage, write_once};

/// `scan` reads two slices of a listing of 7 rows (one at fault, one a duplicate), `measure` makes a row for each row of
/// `scan`, `filter` judges them.
pub(super) struct Made {
    _folder: tempfile::TempDir,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) nodes: Vec<NodeFacts>,
    pub(super) shards: Vec<ShardStatus>,
    pub(super) quarantine: Vec<QuarantineEntry>,
    pub(super) lineage: BTreeMap<i64, Vec<LineageEntry>>,
    pub(super) releases: Vec<ReleaseRecord>,
}

fn id(row: u64) -> String {
    Hasher::new("test").number("row", row).row_id()
}

pub(super) fn scanned(rows: &[u64]) -> DataFrame {
    df!("reference_id" => rows.iter().map(|row| id(*row)).collect::<Vec<_>>(), "n" => rows).unwrap()
}

impl Made {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::create(folder.path()).unwrap());
        let same = |node: &str, table: &str| RowsFrom::Same { node: node.to_owned(), table: table.to_owned() };
        let node = |name: &str, rows_from, one_to_one| NodeFacts {
            name: name.to_owned(),
            stage: name.to_owned(),
            is_aligned: rows_from != RowsFrom::Slice,
            rows_from,
            one_to_one,
        };
        let nodes = vec![
            node("scan", RowsFrom::Slice, true),
            node("measure", same("scan", "references"), true),
            node("filter", same("measure", "scores"), true),
        ];
        let mut made = Self {
            _folder: folder,
            storage,
            nodes,
            shards: Vec::new(),
            quarantine: Vec::new(),
            lineage: BTreeMap::new(),
            releases: Vec::new(),
        };
        let listing = Listing::new(df!("path" => (0..7).map(|row| format!("{row}.png")).collect::<Vec<_>>()).unwrap());
        listing.store(made.storage.as_ref()).unwrap();
        for (index, rows) in [vec![0, 1, 2], vec![4, 5]].into_iter().enumerate() {
            let index = index as i64;
            let counts = |n_in: u64, n_quarantined: u64, n_duplicate: u64| RowCounts {
                n_in,
                n_done: n_in - n_quarantined - n_duplicate,
                n_quarantined,
                n_duplicate,
            };
            let (offset, n_rows) = [(0, 4), (4, 3)][index as usize];
            let slice = ListingSlice { path: listing.path(), offset, n_rows, digest: Digest::of(&[index as u8]) };
            let scan = [counts(4, 1, 0), counts(3, 0, 1)][index as usize];
            let done = rows.len() as u64;
            made.add("scan", index, "references", scanned(&rows), scan, Some(slice));
            let ids: Vec<String> = rows.iter().map(|row| id(*row)).collect();
            let scores = df!("reference_id" => &ids, "sharp" => vec![0.5; rows.len()]).unwrap();
            made.add("measure", index, "scores", scores, counts(done, 0, 0), None);
            let accepted: Vec<bool> = rows.iter().map(|row| row % 2 == 0).collect();
            let reasons: Vec<Option<&str>> = accepted.iter().map(|accepted| (!accepted).then_some("sharp")).collect();
            let verdicts = df!("reference_id" => &ids, "accepted" => accepted, "reason" => reasons).unwrap();
            made.add("filter", index, "verdicts", verdicts, counts(done, 0, 0), None);
        }
        let row = QuarantineRow {
            row: 3,
            row_id: "3.png".into(),
            class: ErrorClass::Corrupt,
            message: "not an image".into(),
        };
        made.quarantine.push(QuarantineEntry { node: "scan".to_owned(), shard_index: 0, row });
        made.shards.sort_by(|a, b| (&a.key.node, a.key.shard_index).cmp(&(&b.key.node, b.key.shard_index)));
        made
    }

    fn add(
        &mut self,
        node: &str,
        index: i64,
        table: &str,
        mut rows: DataFrame,
        counts: RowCounts,
        slice: Option<ListingSlice>,
    ) {
        let path = format!("shards/{node}/{table}-{index:05}.1.parquet");
        let bytes = frame::to_parquet(&mut rows, &[]).unwrap();
        let stored = write_once(self.storage.as_ref(), &path, &bytes).unwrap();
        let shard_id = self.shards.len() as i64 + 1;
        // Each reads the shard made just before.
        if let Some(input) = self.shards.last().filter(|_| slice.is_none()) {
            let entry = LineageEntry {
                input_shard_id: input.shard_id,
                node: input.key.node.clone(),
                shard_index: index,
                digest: shard_digest(&input.files),
            };
            self.lineage.insert(shard_id, vec![entry]);
        }
        self.shards.push(ShardStatus {
            shard_id,
            key: ShardKey {
                node: node.to_owned(),
                shard_index: index,
                fingerprint: Hasher::new("test").text("node", node).fingerprint(),
            },
            state: ShardState::Committed,
            rows: counts,
            files: vec![ShardFile {
                table: table.to_owned(),
                path,
                digest: stored.digest,
                n_bytes: stored.n_bytes,
                n_rows: rows.height() as u64,
                compacted: None,
            }],
            slice,
            backend: Some("cpu".to_owned()),
            message: None,
        });
    }

    pub(super) fn shard(&mut self, node: &str, index: i64) -> &mut ShardStatus {
        self.shards.iter_mut().find(|shard| shard.key.node == node && shard.key.shard_index == index).unwrap()
    }

    pub(super) fn path(&self, node: &str, index: i64) -> PathBuf {
        let shard = self.shards.iter().find(|shard| shard.key.node == node && shard.key.shard_index == index).unwrap();
        self.storage.root().join(&shard.files[0].path)
    }

    /// Replaces a shard's file; `also_in_the_books` for what a faulty stage would have committed.
    pub(super) fn replace(&mut self, node: &str, index: i64, mut rows: DataFrame, also_in_the_books: bool) {
        let bytes = frame::to_parquet(&mut rows, &[]).unwrap();
        std::fs::write(self.path(node, index), &bytes).unwrap();
        if also_in_the_books {
            let file = &mut self.shard(node, index).files[0];
            (file.digest, file.n_bytes, file.n_rows) = (Digest::of(&bytes), bytes.len() as u64, rows.height() as u64);
        }
    }

    pub(super) fn facts(&self, verify: bool) -> Facts {
        let storage = self.storage.as_ref();
        let look = Look {
            nodes: self.nodes.clone(),
            parts: Default::default(),
            shards: self.shards.clone(),
            releases: self.releases.clone(),
            verify,
        };
        let found = look.look(storage);
        let known: HashSet<String> = self
            .shards
            .iter()
            .flat_map(|shard| {
                shard
                    .files
                    .iter()
                    .map(|file| file.path.clone())
                    .chain(shard.slice.iter().map(|slice| slice.path.clone()))
            })
            .collect();
        Facts {
            verified: verify,
            nodes: self.nodes.clone(),
            shards: self.shards.clone(),
            quarantine: self.quarantine.clone(),
            ledger: Vec::new(),
            files: found.files,
            listings: found.listings,
            lineage: if verify { self.lineage.clone() } else { BTreeMap::new() },
            keys: found.keys,
            verdicts: found.verdicts,
            releases: found.releases,
            orphans: orphans(storage, &storage.list("").unwrap(), &known),
            notes: Vec::new(),
        }
    }

    pub(super) fn audit(&self, verify: bool) -> AuditReport {
        judge(&self.facts(verify))
    }

    /// The problems: kind, node and shard.
    pub(super) fn problems(&self, verify: bool) -> Vec<(ProblemKind, String)> {
        let report = self.audit(verify);
        assert_eq!(report.balances(), report.problems.is_empty());
        let place = |problem: &super::Problem| {
            let node = problem.node.clone().unwrap_or_default();
            problem.shard_index.map_or(node.clone(), |index| format!("{node}/{index}"))
        };
        report.problems.iter().map(|problem| (problem.kind, place(problem))).collect()
    }
}
