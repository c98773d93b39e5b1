//! Tables as lazy frames, one node's rows at a time, for readers that know what they look for better than SQL can say it.
//! Every row has a place, so that its picture can be read alone, and its shard named.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::io::RowIndex;
use polars::prelude::*;

use super::QuerySource;
use super::error::{self, QueryError};
use super::names::{Names, Part};
use super::scan;
use crate::dropped::Dropped;
use crate::frame;
use crate::stage::InputShard;

/// The column that [`NodeTable::rows`] adds: `UInt32`, the row's number over all shards of the node.
pub const ROW_NUMBER: &str = "_row_number";

/// What one node has written of one table.
#[derive(Clone, Debug)]
pub struct NodeTable<'a> {
    /// The table.
    pub table: String,
    /// The node.
    pub node: String,
    /// Its committed shards, by index.
    pub shards: Vec<&'a InputShard>,
    /// The columns.
    pub columns: Schema,
    source: &'a QuerySource,
}

impl QuerySource {
    /// All tables, node by node, in the order of their names; those of which nothing is made yet included, when the plan is
    /// known.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn node_tables(&self) -> Result<Vec<NodeTable<'_>>, QueryError> {
        let mut tables = Vec::new();
        for (table, Part { node, files, schema }) in Names::new(self).into_parts() {
            let columns = match files.first() {
                Some(first) => scan::columns(self, first)?,
                None => schema.map(|schema| schema.as_ref().clone()).unwrap_or_default(),
            };
            let (table, node) = (table.to_owned(), node.to_owned());
            tables.push(NodeTable { table, node, shards: files, columns, source: self });
        }
        Ok(tables)
    }
}

impl NodeTable<'_> {
    /// Its rows, with [`ROW_NUMBER`]. Nothing is read before it is collected, and then only the columns asked for.
    ///
    /// # Errors
    /// A path that polars cannot take.
    pub fn rows(&self) -> Result<LazyFrame, QueryError> {
        if self.shards.is_empty() {
            let mut columns = self.columns.clone();
            columns.insert(ROW_NUMBER.into(), IDX_DTYPE);
            return Ok(DataFrame::empty_with_schema(&columns).lazy());
        }
        let row_index = Some(RowIndex { name: ROW_NUMBER.into(), offset: 0 });
        scan::scan_with(self.source, &self.shards, ScanArgsParquet { row_index, ..ScanArgsParquet::default() })
    }

    /// The shard of the row with this number, and the row's number in it.
    #[must_use]
    pub fn place(&self, row_number: u64) -> Option<(&InputShard, u64)> {
        let mut row = row_number;
        for shard in &self.shards {
            if row < shard.n_rows {
                return Some((shard, row));
            }
            row -= shard.n_rows;
        }
        None
    }

    /// Whether a picture of the row with this number was dropped, so that it has none, or a thumbnail in its place.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn is_dropped(&self, row_number: u64) -> Result<bool, QueryError> {
        let Some((shard, row)) = self.place(row_number).filter(|(shard, _)| !shard.is_whole()) else {
            return Ok(false);
        };
        let dropped = Dropped::of(self.open(shard)?).map_err(|error| unreadable(shard, &error))?;
        Ok(dropped.has(row))
    }

    /// One row, `columns` of it only when given: pixels of its neighbours are not held.
    ///
    /// # Errors
    /// A number beyond the last row; a file that cannot be read.
    pub fn row(&self, row_number: u64, columns: Option<&[String]>) -> Result<DataFrame, QueryError> {
        let (shard, row) = self
            .place(row_number)
            .ok_or_else(|| QueryError::Failed(format!("`{}` of {} has no row {row_number}", self.table, self.node)))?;
        let at = usize::try_from(row).unwrap_or(usize::MAX);
        frame::read_slice(self.open(shard)?, at, 1, columns).map_err(|error| unreadable(shard, &error))
    }

    fn open(&self, shard: &InputShard) -> Result<File, QueryError> {
        File::open(self.source.root.join(&shard.path)).map_err(|error| unreadable(shard, &error.into()))
    }
}

fn unreadable(shard: &InputShard, error: &PolarsError) -> QueryError {
    QueryError::Read(format!("{}: {}", shard.path, error::tidy(error)))
}

/// Carries out what a frame was asked for. Blocks, and uses all threads of polars.
///
/// # Errors
/// See [`QueryError`]; damaged files, over which a decoder may panic, included.
pub fn collect(rows: LazyFrame) -> Result<DataFrame, QueryError> {
    let collected = catch_unwind(AssertUnwindSafe(|| {
        // One plan has one result.
        rows.collect_with_engine(Engine::Streaming).map(|result| result.unwrap_single())
    }));
    match collected {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(error)) => Err(error::explain(error, &mut [])),
        Err(panic) => Err(QueryError::Panicked(crate::panic_message(panic.as_ref()))),
    }
}
