//! Row work over one shard: batches on a fixed grid, bisection of faulty ones, journal, and assembly in row order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use polars::prelude::*;

use super::journal::{Index, Writer, renumber};
use crate::catalog::{QuarantineRow, RowCounts};
use crate::digest::Digest;
use crate::failpoint;
use crate::plan::row_hashes;
use crate::stage::{
    BatchOutcome, Cost, ErrorClass, FanOut, QuarantinedRow, ROW, RowWork, TableDecl, WorkContext, WorkError, id_text,
};
use crate::storage::Storage;

/// What a shard's row work made.
pub(super) struct RowsMade {
    /// Table name → its rows, complete and in order.
    pub(super) tables: BTreeMap<String, DataFrame>,
    /// Where the rows went.
    pub(super) counts: RowCounts,
    /// Those at fault.
    pub(super) quarantine: Vec<QuarantineRow>,
    /// What it cost.
    pub(super) cost: Cost,
}

/// What watches over the work: told before each batch, after it, and of what it made.
pub(super) trait Observer {
    /// A batch of `rows` (positions in the shard) begins, and may take so long.
    fn began(&self, rows: &[u32], deadline: Duration);
    /// It ended, in whatever way; so many rows are finished.
    fn ended(&self, n_finished: usize);
    /// What rows became is durable in the journal.
    fn journaled(&self, outcome: &BatchOutcome);
}

/// Row work over one shard.
pub(super) struct RowRun<'a> {
    pub(super) work: &'a dyn RowWork,
    pub(super) context: &'a WorkContext,
    /// The table in which a done row makes one row, where it makes exactly one.
    pub(super) first_table: &'a str,
    /// The shard's rows.
    pub(super) rows: &'a DataFrame,
    /// Above this share of faulty rows, and at least [`MIN_FAULTY`], the fault is not in the rows.
    pub(super) max_quarantine: f64,
    /// How long a batch may take, where the manifest says it.
    pub(super) hang: Option<Duration>,
    pub(super) journal: Option<Journaling<'a>>,
    pub(super) observer: &'a dyn Observer,
    pub(super) parts: Vec<Part>,
    pub(super) n_faulty: u64,
}

/// What earlier attempts finished, and where this one writes.
pub(super) struct Journaling<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) index: &'a Index,
    pub(super) writer: Writer<'a>,
}

/// Fewer faulty rows never stop a stage.
pub(super) const MIN_FAULTY: u64 = 20;

/// A finished batch: for each of its rows the position in the shard, `None` for a row of another shard.
pub(super) struct Part {
    rows: Vec<Option<u32>>,
    outcome: BatchOutcome,
}

/// The batches of a shard of `n_rows` rows.
pub(super) fn grid(n_rows: usize, work: &dyn RowWork, micro_batch: Option<u32>) -> Vec<Vec<u32>> {
    let size = micro_batch.map_or(work.batch_rows(), |micro| work.batch_rows().min(micro as usize)).max(1);
    let rows: Vec<u32> = (0..u32::try_from(n_rows).unwrap_or(u32::MAX)).collect();
    rows.chunks(size).map(<[u32]>::to_vec).collect()
}

impl RowRun<'_> {
    /// Works through `batches`.
    pub(super) fn run(&mut self, batches: &[Vec<u32>]) -> Result<(), WorkError> {
        for batch in batches {
            self.treat(batch)?;
        }
        Ok(())
    }

    fn treat(&mut self, rows: &[u32]) -> Result<(), WorkError> {
        self.context.cancel.check()?;
        let (class, message) = match self.attempt(rows) {
            Ok(()) => return Ok(()),
            Err(WorkError::Poison { class, message }) => (class, message),
            // One row alone is too much: it is the row's fault.
            Err(WorkError::OutOfMemory(message)) if rows.len() == 1 => (ErrorClass::OutOfMemory, message),
            Err(error) => return Err(error),
        };
        match rows.split_at_checked(rows.len() / 2) {
            Some((left, right)) if !left.is_empty() => {
                self.treat(left)?;
                self.treat(right)
            }
            _ => {
                let quarantined = vec![QuarantinedRow { row: 0, class, message }];
                let outcome = BatchOutcome { quarantined, ..BatchOutcome::default() };
                let hashes = match &self.journal {
                    // A row that cannot even be prepared has no key; it is met again, and fails again.
                    Some(_) => self.prepared(rows).map(|rows| row_hashes(&rows)).unwrap_or_default(),
                    None => Vec::new(),
                };
                self.keep(rows, &hashes, outcome)
            }
        }
    }

    /// Rows of the shard, prepared. A panic of the stage is a fault of some row.
    fn prepared(&self, rows: &[u32]) -> Result<DataFrame, WorkError> {
        let batch = take(self.rows, rows)?;
        guarded(|| self.work.prepare(self.context, batch))
    }

    fn attempt(&mut self, rows: &[u32]) -> Result<(), WorkError> {
        let prepared = self.prepared(rows)?;
        let Some(journal) = &self.journal else {
            let outcome = self.process(rows, &prepared)?;
            return self.keep(rows, &[], outcome);
        };
        let hashes = row_hashes(&prepared);
        self.parts.extend(remembered(journal, rows, &hashes)?);
        let todo: Vec<u32> =
            (0..).zip(&hashes).filter(|(_, hash)| !journal.index.contains(hash)).map(|(at, _)| at).collect();
        if todo.is_empty() {
            self.observer.ended(rows.len());
            return Ok(());
        }
        let prepared = take(&prepared, &todo)?;
        let hashes: Vec<Digest> = todo.iter().filter_map(|at| hashes.get(*at as usize).copied()).collect();
        let rows: Vec<u32> = todo.iter().filter_map(|at| rows.get(*at as usize).copied()).collect();
        let outcome = self.process(&rows, &prepared)?;
        self.keep(&rows, &hashes, outcome)
    }

    fn process(&self, rows: &[u32], prepared: &DataFrame) -> Result<BatchOutcome, WorkError> {
        self.observer.began(rows, self.hang.unwrap_or_else(|| self.work.row_deadline()));
        let outcome = guarded(|| {
            failpoint::pass_rows(rows.iter().map(|row| u64::from(*row)));
            self.work.process(self.context, prepared)
        });
        self.observer.ended(if outcome.is_ok() { rows.len() } else { 0 });
        let outcome = outcome?;
        check(&outcome, rows.len(), self.first_table, self.work.fan_out()).map_err(|message| {
            WorkError::Systemic(format!("the stage broke its contract: {message}; this is a defect of the stage kind"))
        })?;
        Ok(outcome)
    }

    fn keep(&mut self, rows: &[u32], hashes: &[Digest], outcome: BatchOutcome) -> Result<(), WorkError> {
        self.n_faulty += outcome.quarantined.len() as u64;
        if self.n_faulty >= MIN_FAULTY && self.n_faulty as f64 > self.max_quarantine * self.rows.height() as f64 {
            let example = outcome.quarantined.last().map_or("", |row| row.message.as_str());
            return Err(WorkError::Systemic(format!(
                "{} of the shard's {} rows are at fault, more than max_quarantine = {} allows; the last one: {example}",
                self.n_faulty,
                self.rows.height(),
                self.max_quarantine,
            )));
        }
        if let (Some(journal), false) = (&mut self.journal, hashes.is_empty()) {
            journal.writer.append(hashes, &outcome)?;
            self.observer.journaled(&outcome);
        }
        self.parts.push(Part { rows: rows.iter().copied().map(Some).collect(), outcome });
        Ok(())
    }

    /// The shard, once all batches are done.
    pub(super) fn assemble(self, writes: &[TableDecl]) -> Result<RowsMade, WorkError> {
        let mut counts = RowCounts { n_in: self.rows.height() as u64, ..RowCounts::default() };
        let mut cost = Cost::default();
        let mut quarantine = Vec::new();
        let ids = self.rows.column(self.work.row_id())?;
        for part in &self.parts {
            cost += part.outcome.cost;
            let row = |at: u32| part.rows.get(at as usize).copied().flatten();
            counts.n_duplicate +=
                part.outcome.duplicates.iter().filter(|found| row(found.row).is_some()).count() as u64;
            for found in &part.outcome.quarantined {
                let Some(at) = row(found.row) else { continue };
                let row_id = id_text(&ids.get(at as usize)?);
                quarantine.push(QuarantineRow {
                    row: at.into(),
                    row_id,
                    class: found.class,
                    message: found.message.clone(),
                });
            }
        }
        quarantine.sort_by_key(|row| row.row);
        counts.n_quarantined = quarantine.len() as u64;
        counts.n_done = counts.n_in.saturating_sub(counts.n_quarantined + counts.n_duplicate);
        let mut tables = BTreeMap::new();
        for decl in writes {
            tables.insert(decl.name.clone(), in_order(decl, &self.parts)?);
        }
        Ok(RowsMade { tables, counts, quarantine, cost })
    }
}

/// Batches of earlier attempts in which some of `rows` lie.
fn remembered(journal: &Journaling<'_>, rows: &[u32], hashes: &[Digest]) -> Result<Vec<Part>, WorkError> {
    let mut positions: HashMap<Digest, u32> = HashMap::with_capacity(rows.len());
    for (hash, row) in hashes.iter().zip(rows) {
        if journal.index.contains(hash) {
            positions.insert(*hash, *row);
        }
    }
    let mut parts = Vec::new();
    for record in journal.index.records(journal.storage, hashes)? {
        // A row is taken from the first record that has it.
        let rows: Vec<Option<u32>> = record.rows.iter().map(|hash| positions.remove(hash)).collect();
        parts.push(Part { rows, outcome: record.outcome });
    }
    Ok(parts)
}

/// The rows of one table from all parts, in the order of the input rows they were made from.
fn in_order(decl: &TableDecl, parts: &[Part]) -> Result<DataFrame, WorkError> {
    let mut whole: Option<DataFrame> = None;
    for part in parts {
        let Some(table) = part.outcome.tables.get(&decl.name) else { continue };
        let table = renumber(table, &part.rows)?;
        match &mut whole {
            Some(whole) => {
                whole.vstack_mut(&table)?;
            }
            None => whole = Some(table),
        }
    }
    let Some(whole) = whole else { return Ok(DataFrame::empty_with_schema(&decl.columns)) };
    let is_sorted = whole.column(ROW)?.u32()?.iter().is_sorted();
    let options = SortMultipleOptions::default().with_maintain_order(true);
    let whole = if is_sorted { whole } else { whole.sort([ROW], options)? };
    conform(whole, decl)
}

/// `table` with exactly the declared columns, or the reason why it has not.
pub(super) fn conform(table: DataFrame, decl: &TableDecl) -> Result<DataFrame, WorkError> {
    let found = table.schema();
    for (name, wanted) in decl.columns.iter() {
        let problem = match found.get(name) {
            Some(dtype) if dtype == wanted => continue,
            Some(dtype) => format!("has column `{name}` of type {dtype}, declared as {wanted}"),
            None => format!("has no column `{name}`"),
        };
        return Err(WorkError::Systemic(format!(
            "table `{}` {problem}; this is a defect of the stage kind",
            decl.name
        )));
    }
    Ok(table.select(decl.columns.iter_names().cloned())?)
}

/// What an outcome must keep to: rows within the batch, each in one place.
fn check(outcome: &BatchOutcome, n_rows: usize, first_table: &str, fan_out: FanOut) -> Result<(), String> {
    let mut gone = BTreeSet::new();
    let duplicates = outcome.duplicates.iter().map(|row| row.row);
    for row in outcome.quarantined.iter().map(|row| row.row).chain(duplicates) {
        if row as usize >= n_rows || !gone.insert(row) {
            return Err(format!("row {row} of a batch of {n_rows} is named twice, or not in it"));
        }
    }
    let n_done = n_rows - gone.len();
    for (name, table) in &outcome.tables {
        let rows = table
            .column(ROW)
            .and_then(|rows| rows.u32().cloned())
            .map_err(|error| format!("table `{name}`: {error}"))?;
        let mut seen = BTreeSet::new();
        for row in rows.iter() {
            let row = row.ok_or_else(|| format!("table `{name}` has a null in `{ROW}`"))?;
            if row as usize >= n_rows || gone.contains(&row) {
                return Err(format!("table `{name}` has a row made from row {row}, which is not done"));
            }
            seen.insert(row);
        }
        if fan_out == FanOut::One && name == first_table && (seen.len() != n_done || rows.len() != n_done) {
            return Err(format!("table `{name}` has {} rows for {n_done} rows done", rows.len()));
        }
    }
    if fan_out == FanOut::One && n_done > 0 && !outcome.tables.contains_key(first_table) {
        return Err(format!("table `{first_table}` is missing for {n_done} rows done"));
    }
    Ok(())
}

fn take(frame: &DataFrame, rows: &[u32]) -> Result<DataFrame, WorkError> {
    match (rows.first(), rows.last()) {
        (Some(first), Some(last)) if (last - first) as usize + 1 == rows.len() => {
            Ok(frame.slice(i64::from(*first), rows.len()))
        }
        _ => Ok(frame.take(&IdxCa::from_vec("row".into(), rows.to_vec()))?),
    }
}

/// A panic inside a stage is a fault of one of the rows it was given.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, WorkError>) -> Result<T, WorkError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = format!("panicked: {}", crate::panic_message(panic.as_ref()));
        Err(WorkError::poison(ErrorClass::Panic, message))
    })
}
