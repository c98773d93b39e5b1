//! What all attempts of a run have in common.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use polars::prelude::DataFrame;

use super::event::{Event, Sink};
use super::item::journal_folder;
use super::journal::Index;
use super::limits::Limits;
use super::{Project, RunOptions, record_of};
use crate::catalog::{EventRecord, ListingSlice, PlanRecord, RunId, SharedCatalog, WorkItem};
use crate::frame;
use crate::plan::{Plan, PlanNode, slice_digest};
use crate::stage::{Cancel, WorkError};
use crate::storage::Storage;

/// Listings up to this size are kept in memory: their slices are read one after the other.
const CACHED_LISTING_BYTES: u64 = 16 << 20;

/// What all attempts of a run have in common.
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) catalog: SharedCatalog,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: RunOptions,
    /// Slices of the source nodes.
    pub(super) sources: BTreeMap<String, Vec<ListingSlice>>,
    /// The plan as it was applied.
    pub(super) record: PlanRecord,
    pub(super) limits: Limits,
    pub(super) cancel: Cancel,
    sink: Sink,
    records: Mutex<Vec<EventRecord>>,
    caches: Caches,
}

/// What is read once and used by many attempts.
#[derive(Default)]
pub(super) struct Caches {
    listings: Mutex<HashMap<String, Arc<DataFrame>>>,
    previews: Mutex<HashMap<String, Arc<Index>>>,
}

impl Shared {
    pub(super) fn new(
        project: &Project,
        options: RunOptions,
        sources: BTreeMap<String, Vec<ListingSlice>>,
        record: PlanRecord,
        limits: Limits,
        cancel: Cancel,
        sink: Sink,
    ) -> Self {
        Self {
            plan: Arc::clone(&project.plan),
            catalog: Arc::clone(&project.catalog),
            storage: Arc::clone(&project.storage),
            options,
            sources,
            record,
            limits,
            cancel,
            sink,
            records: Mutex::default(),
            caches: Caches::default(),
        }
    }

    /// What an attempt may look at.
    pub(super) fn site(&self) -> Site<'_> {
        Site {
            plan: &self.plan,
            storage: &self.storage,
            options: &self.options,
            limits: &self.limits,
            cancel: &self.cancel,
            listener: Some(self),
            caches: &self.caches,
        }
    }

    /// Tells all who listen, and the catalog at the end.
    pub(super) fn emit(&self, event: &Event) {
        (self.sink)(event);
        if let Some(record) = record_of(event) {
            self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        }
    }

    /// Events not yet written to the catalog.
    pub(super) fn take_records(&self, run: RunId) -> Vec<EventRecord> {
        let mut records = std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner));
        for record in &mut records {
            record.run = Some(run);
        }
        records
    }
}

/// What an attempt may look at. It has no catalog: what an attempt did counts only by its commit.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) plan: &'a Plan,
    pub(super) storage: &'a Arc<dyn Storage>,
    pub(super) options: &'a RunOptions,
    pub(super) limits: &'a Limits,
    pub(super) cancel: &'a Cancel,
    /// Who is told of events; nobody in a child, which reports in its own way.
    pub(super) listener: Option<&'a Shared>,
    pub(super) caches: &'a Caches,
}

impl Site<'_> {
    pub(super) fn emit(&self, event: &Event) {
        if let Some(listener) = self.listener {
            listener.emit(event);
        }
    }

    /// A folder for the temporary files of one attempt.
    pub(super) fn scratch(&self, item: &WorkItem) -> PathBuf {
        let name = format!("{}-{}.{}-{}", item.key.node, item.key.shard_index, item.shard_id, item.token);
        self.storage.root().join("scratch").join(name)
    }

    /// The rows of a slice, checked against its digest.
    pub(super) fn listing_rows(&self, item: &WorkItem, slice: &ListingSlice) -> Result<DataFrame, WorkError> {
        let damaged =
            |message: String| WorkError::Damaged { shard_id: item.shard_id, path: slice.path.clone(), message };
        let (offset, n_rows) = (clamp(slice.offset), clamp(slice.n_rows));
        let mut listings = self.caches.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = listings.get(&slice.path).cloned();
        let rows = if let Some(whole) = cached {
            drop(listings);
            whole.slice(slice.offset as i64, n_rows)
        } else {
            let n_bytes = self.storage.size(&slice.path).map_err(|error| damaged(error.to_string()))?;
            let file = self.storage.open(&slice.path).map_err(|error| damaged(error.to_string()))?;
            if n_bytes <= CACHED_LISTING_BYTES {
                let whole = Arc::new(frame::read(file, None).map_err(|error| damaged(error.to_string()))?);
                listings.insert(slice.path.clone(), Arc::clone(&whole));
                whole.slice(slice.offset as i64, n_rows)
            } else {
                drop(listings);
                frame::read_slice(file, offset, n_rows, None).map_err(|error| damaged(error.to_string()))?
            }
        };
        if slice_digest(&rows) == slice.digest {
            return Ok(rows);
        }
        self.caches.listings.lock().unwrap_or_else(PoisonError::into_inner).remove(&slice.path);
        Err(damaged(format!("rows {offset} to {} are not those that were listed", offset + n_rows)))
    }

    /// Rows that previews of this node finished.
    pub(super) fn previews(&self, node: &PlanNode) -> Result<Arc<Index>, WorkError> {
        let mut previews = self.caches.previews.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = previews.get(&node.name) {
            return Ok(Arc::clone(index));
        }
        let folder = journal_folder(node);
        let files = self.storage.list(&folder).map_err(|error| WorkError::io(&folder, &error))?;
        let is_preview = |file: &String| file.rsplit('/').next().is_some_and(|name| name.starts_with("sample-"));
        let files: Vec<String> =
            files.into_iter().filter(|file| is_preview(file) && !file.ends_with(".deaths")).collect();
        let index = Arc::new(Index::read(self.storage.as_ref(), &files)?);
        previews.insert(node.name.clone(), Arc::clone(&index));
        Ok(index)
    }
}

fn clamp(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
