//! One work item: from a lease to files that are durable, and to the commit that makes them count.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polars::prelude::DataFrame;

use super::event::Event;
use super::isolate::{IsolateRequest, Isolation};
use super::journal::{Index, Writer};
use super::rows::{Journaling, Observer, RowRun, RowsMade, conform, grid, guarded};
use super::shared::Site;
use super::watch::Watch;
use crate::catalog::{Commit, ListingSlice, OPENING, RowCounts, ShardFile, WorkItem};
use crate::frame;
use crate::plan::{Listing, PlanNode, row_hashes, slices};
use crate::stage::{BatchOutcome, Bounds, Cost, QuarantinedRow, RowWork, Work, WorkContext, WorkError};
use crate::storage::write_once;

/// What an item made; for the opening of a barrier, the slices found.
pub(super) struct Made {
    pub(super) commit: Commit,
    /// Rows that a verdict rejects.
    pub(super) n_rejected: u64,
    pub(super) slices: Option<Vec<ListingSlice>>,
}

/// The folder of a node's journals.
pub(super) fn journal_folder(node: &PlanNode) -> String {
    format!("journal/{}-{:.16}", node.name, node.fingerprint.to_hex())
}

/// Makes the shard of `item`. Blocks; runs on a thread of its own.
pub(super) fn make(site: Site<'_>, node: &PlanNode, item: &WorkItem, watch: &Watch) -> Result<Made, WorkError> {
    let started = Instant::now();
    preflight(site)?;
    let scratch = Scratch(site.scratch(item));
    let context = context(site, node, item, scratch.0.clone());
    let mut made = match (&node.decl.bounds, &node.decl.work) {
        (Bounds::Barrier(lister), _) if item.key.shard_index == OPENING => {
            let listing = Listing::new(guarded(|| lister.list(&context)).map_err(in_whole)?);
            listing.store(site.storage.as_ref())?;
            let n_in = listing.n_rows();
            let mut made = finished(item, started);
            made.commit.counts = RowCounts { n_in, n_done: n_in, ..RowCounts::default() };
            made.slices = Some(slices(node, &listing));
            return Ok(made);
        }
        (_, Work::Rows(work)) => rows(site, node, item, &context, work.as_ref(), watch, started)?,
        (_, Work::Whole(work)) => {
            let outcome = guarded(|| work.run(&context)).map_err(in_whole)?;
            let mut tables = outcome.tables;
            let mut made = finished(item, started);
            for decl in &node.decl.writes {
                let table = tables.remove(&decl.name);
                let table = table.unwrap_or_else(|| DataFrame::empty_with_schema(&decl.columns));
                made.commit.files.push(store(site, item, &decl.name, conform(table, decl)?)?);
            }
            made.commit.counts = RowCounts { n_in: outcome.n_in, n_done: outcome.n_in, ..RowCounts::default() };
            made.commit.effects = outcome.effects;
            made.commit.cost = outcome.cost;
            made.commit.backend = work.backend();
            made
        }
    };
    made.commit.wall_ms = milliseconds(started.elapsed());
    Ok(made)
}

/// A fault of a single row makes no sense where tables are treated whole: the stage cannot go on.
fn in_whole(error: WorkError) -> WorkError {
    match error {
        WorkError::Poison { message, .. } => WorkError::Systemic(message),
        other => other,
    }
}

fn finished(item: &WorkItem, started: Instant) -> Made {
    let commit = Commit {
        shard_id: item.shard_id,
        token: item.token,
        files: Vec::new(),
        counts: RowCounts::default(),
        quarantine: Vec::new(),
        cost: Cost::default(),
        // Known to who commits it.
        queued_ms: 0,
        wall_ms: milliseconds(started.elapsed()),
        backend: "cpu".to_owned(),
        effects: Vec::new(),
        opened: None,
    };
    Made { commit, n_rejected: 0, slices: None }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Stops before the disk is full, while there is still room for the catalog.
pub(super) fn preflight(site: Site<'_>) -> Result<(), WorkError> {
    let wanted = site.plan.manifest.storage.min_free_bytes;
    let free = site.storage.free_bytes().map_err(|error| WorkError::io(site.storage.root().display(), &error))?;
    if free >= wanted {
        return Ok(());
    }
    Err(WorkError::DiskFull(format!(
        "{}: {free} bytes are free, storage.min_free_bytes is {wanted}",
        site.storage.root().display()
    )))
}

/// What a stage is given for `item`.
pub(super) fn context(site: Site<'_>, node: &PlanNode, item: &WorkItem, scratch: PathBuf) -> WorkContext {
    let mut inputs: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for input in &item.inputs {
        inputs.entry(input.table.clone()).or_default().push(input.clone());
    }
    WorkContext {
        node: node.name.clone(),
        shard_index: u32::try_from(item.key.shard_index).unwrap_or(0),
        seed: site.plan.seed(),
        storage: Arc::clone(site.storage),
        scratch,
        inputs,
        cancel: site.cancel.clone(),
    }
}

/// The rows of the work: a slice of a listing, or the first table read.
pub(super) fn first_input(
    site: Site<'_>,
    node: &PlanNode,
    item: &WorkItem,
    context: &WorkContext,
    columns: Option<Vec<String>>,
) -> Result<DataFrame, WorkError> {
    if let Some(slice) = &item.slice {
        return site.listing_rows(item, slice);
    }
    let no_input = || WorkError::Systemic(format!("{} has no input", node.name));
    let read = node.reads.first().ok_or_else(no_input)?;
    let from = read.from.first().ok_or_else(no_input)?;
    let mut rows: Option<DataFrame> = None;
    for shard in context.shards(&read.table).iter().filter(|shard| shard.node == *from) {
        let shard = context.read(shard, columns.as_deref())?;
        rows = Some(match rows {
            Some(rows) => rows.vstack(&shard)?,
            None => shard,
        });
    }
    rows.ok_or_else(no_input)
}

fn rows(
    site: Site<'_>,
    node: &PlanNode,
    item: &WorkItem,
    context: &WorkContext,
    work: &dyn RowWork,
    watch: &Watch,
    started: Instant,
) -> Result<Made, WorkError> {
    let rows = first_input(site, node, item, context, work.columns())?;
    let observer = InProcess { site, node, watch };
    let isolated = item.n_deaths >= 2 && site.options.isolate.is_some();
    let journals = Journals::of(site, node, item);
    let index = if work.journaled() || isolated { Some(journals.index(site, node, true)?) } else { None };
    let mut run = row_run(node, work, context, &rows, &observer);
    run.journal = index.as_ref().map(|index| Journaling {
        storage: site.storage.as_ref(),
        index,
        writer: Writer::new(site.storage.as_ref(), journals.path.clone()),
    });
    let batches = grid(rows.height(), work, item.micro_batch);
    if !isolated {
        run.run(&batches)?;
        return deliver(site, node, item, work, run.assemble(&node.decl.writes)?, started);
    }
    // Nothing is processed here: children have done it, or the rows are to blame.
    drop(run);
    let index = isolate(site, node, item, context, work, &rows, batches, &journals)?;
    let mut run = row_run(node, work, context, &rows, &observer);
    run.journal = Some(Journaling {
        storage: site.storage.as_ref(),
        index: &index,
        writer: Writer::new(site.storage.as_ref(), format!("{}.rest", journals.path)),
    });
    run.run(&grid(rows.height(), work, item.micro_batch))?;
    deliver(site, node, item, work, run.assemble(&node.decl.writes)?, started)
}

/// A run over `rows` without journal.
pub(super) fn row_run<'a>(
    node: &'a PlanNode,
    work: &'a dyn RowWork,
    context: &'a WorkContext,
    rows: &'a DataFrame,
    observer: &'a dyn Observer,
) -> RowRun<'a> {
    RowRun {
        work,
        context,
        first_table: node.decl.writes.first().map_or("", |table| table.name.as_str()),
        rows,
        max_quarantine: node.settings.max_quarantine,
        hang: node.settings.hang_secs.map(Duration::from_secs),
        journal: None,
        observer,
        parts: Vec::new(),
        n_faulty: 0,
    }
}

/// Lets children do the shard, and returns the index in which then every row is.
#[expect(clippy::too_many_arguments, reason = "one caller, which has them all at hand")]
fn isolate(
    site: Site<'_>,
    node: &PlanNode,
    item: &WorkItem,
    context: &WorkContext,
    work: &dyn RowWork,
    rows: &DataFrame,
    batches: Vec<Vec<u32>>,
    journals: &Journals,
) -> Result<Index, WorkError> {
    let Some(command) = &site.options.isolate else { return journals.index(site, node, true) };
    site.emit(&Event::Isolated { node: node.name.clone(), shard_index: item.key.shard_index });
    let request = IsolateRequest {
        fingerprint: node.fingerprint,
        item: item.clone(),
        batches,
        journal: journals.path.clone(),
        scratch: context.scratch.clone(),
    };
    let mut deaths = journals.files(site, ".deaths")?;
    deaths.push(format!("{}.deaths", journals.path));
    let isolation = Isolation { command, storage: site.storage.as_ref(), cancel: site.cancel, deaths, request };
    let bounds = isolation.run(|n_rows| {
        site.emit(&Event::Rows { node: node.name.clone(), n_rows: n_rows as u64 });
    })?;
    let mut writer = Writer::new(site.storage.as_ref(), format!("{}.blamed", journals.path));
    for (row, class, message) in bounds.blamed {
        let prepared = guarded(|| work.prepare(context, rows.slice(i64::from(row), 1)))?;
        let quarantined = vec![QuarantinedRow { row: 0, class, message }];
        writer.append(&row_hashes(&prepared), &BatchOutcome { quarantined, ..BatchOutcome::default() })?;
    }
    journals.index(site, node, true)
}

/// Stores the tables and fills in the commit.
fn deliver(
    site: Site<'_>,
    node: &PlanNode,
    item: &WorkItem,
    work: &dyn RowWork,
    rows: RowsMade,
    started: Instant,
) -> Result<Made, WorkError> {
    site.limits.check_quarantine(node, rows.counts, &rows.quarantine)?;
    let mut made = finished(item, started);
    let mut tables = rows.tables;
    for decl in &node.decl.writes {
        if let Some(table) = tables.remove(&decl.name) {
            made.n_rejected += n_rejected(&table);
            made.commit.files.push(store(site, item, &decl.name, table)?);
        }
    }
    made.commit.counts = rows.counts;
    made.commit.quarantine = rows.quarantine;
    made.commit.cost = rows.cost;
    made.commit.backend = work.backend();
    Ok(made)
}

/// Rows with false in a column `accepted`: what a filter rejects is a verdict, not a missing row.
fn n_rejected(table: &DataFrame) -> u64 {
    let accepted = table.column("accepted").and_then(|accepted| accepted.bool().cloned());
    accepted.map_or(0, |accepted| accepted.iter().filter(|accepted| *accepted == Some(false)).count() as u64)
}

/// Writes a table under a name that no other attempt can have: tokens count the leases of one shard, and two plans may
/// have different shards with the same index.
fn store(site: Site<'_>, item: &WorkItem, table: &str, mut rows: DataFrame) -> Result<ShardFile, WorkError> {
    let (node, index) = (&item.key.node, item.key.shard_index);
    let path = format!("shards/{node}/{table}-{index:05}.{}-{}.parquet", item.shard_id, item.token);
    let bytes = frame::to_parquet(&mut rows, &[])?;
    let file = write_once(site.storage.as_ref(), &path, &bytes).map_err(|error| WorkError::io(&path, &error))?;
    Ok(ShardFile {
        table: table.to_owned(),
        path: file.path,
        digest: file.digest,
        n_bytes: file.n_bytes,
        n_rows: rows.height() as u64,
        compacted: None,
    })
}

/// The journals of one shard, and the one that this attempt writes.
pub(super) struct Journals {
    folder: String,
    prefix: String,
    path: String,
}

impl Journals {
    pub(super) fn of(site: Site<'_>, node: &PlanNode, item: &WorkItem) -> Self {
        let folder = journal_folder(node);
        let prefix = format!("{:.16}.", item.key.fingerprint.to_hex());
        let sample = if site.options.sample.is_some() { "sample-" } else { "" };
        let path = format!("{folder}/{sample}{prefix}{}", item.token);
        Self { folder, prefix, path }
    }

    /// Files of all attempts at this shard whose names end so.
    fn files(&self, site: Site<'_>, suffix: &str) -> Result<Vec<String>, WorkError> {
        let files = site.storage.list(&self.folder).map_err(|error| WorkError::io(&self.folder, &error))?;
        let own = |file: &String| {
            let name = file.rsplit('/').next().unwrap_or_default();
            name.strip_prefix("sample-").unwrap_or(name).starts_with(&self.prefix)
        };
        Ok(files.into_iter().filter(|file| own(file) && file.ends_with(suffix)).collect())
    }

    /// What earlier attempts finished of this shard, and previews of its rows.
    pub(super) fn index(&self, site: Site<'_>, node: &PlanNode, with_previews: bool) -> Result<Index, WorkError> {
        let files = self.files(site, "")?;
        let journals: Vec<String> = files.into_iter().filter(|file| !file.ends_with(".deaths")).collect();
        let mut index = Index::read(site.storage.as_ref(), &journals)?;
        if with_previews {
            index.extend(&*site.previews(node)?);
        }
        Ok(index)
    }

    /// Takes the shard's journals away: it is committed. A preview's stay for the full run.
    pub(super) fn remove(&self, site: Site<'_>) {
        if site.options.sample.is_none() {
            for file in self.files(site, "").unwrap_or_default() {
                if let Err(error) = site.storage.remove(&file) {
                    tracing::warn!("cannot remove {file}: {error}; the next sweep will");
                }
            }
        }
    }
}

struct InProcess<'a> {
    site: Site<'a>,
    node: &'a PlanNode,
    watch: &'a Watch,
}

impl Observer for InProcess<'_> {
    fn began(&self, _rows: &[u32], deadline: Duration) {
        self.watch.began(deadline);
    }

    fn ended(&self, n_finished: usize) {
        self.watch.ended();
        if n_finished > 0 {
            self.site.emit(&Event::Rows { node: self.node.name.clone(), n_rows: n_finished as u64 });
        }
    }

    fn journaled(&self, outcome: &BatchOutcome) {
        let Some(onlooker) = &self.site.options.onlooker else { return };
        let looked = guarded(|| {
            onlooker.made(&self.node.name, outcome);
            Ok(())
        });
        if let Err(error) = looked {
            tracing::warn!("what {} made could not be shown: {error}", self.node.name);
        }
    }
}

/// A folder for temporary files, gone with the attempt.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
