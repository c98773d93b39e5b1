//! Columns of further tables, added to the rows of a batch by id: a generator needs the pixels of a pair's reference.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{WorkContext, WorkError, id_text};
use polars::prelude::*;

/// A table to add columns of.
pub(crate) struct Join {
    pub(crate) table: String,
    /// The id column, the same on both sides.
    pub(crate) key: String,
    pub(crate) columns: Vec<String>,
    /// The shard read last: the batches of a shard come one after the other.
    last: Mutex<Option<(Vec<Digest>, Arc<DataFrame>)>>,
}

impl Join {
    /// Adds `columns` of `table`, whose rows `key` names.
    pub(crate) fn new(
        table: impl Into<String>,
        key: impl Into<String>,
        columns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { table: table.into(), key: key.into(), columns, last: Mutex::default() }
    }

    /// `rows` with the columns added as `table.column`; null where the other table has no such row.
    pub(crate) fn add(&self, context: &WorkContext, mut rows: DataFrame) -> Result<DataFrame, WorkError> {
        let other = self.read(context)?;
        let mut positions: HashMap<String, IdxSize> = HashMap::with_capacity(other.height());
        for (id, at) in other.column(&self.key)?.as_materialized_series().iter().zip(0..) {
            positions.insert(id_text(&id), at);
        }
        let found: IdxCa = rows
            .column(&self.key)?
            .as_materialized_series()
            .iter()
            .map(|id| positions.get(&id_text(&id)).copied())
            .collect();
        for name in &self.columns {
            let mut column = other.column(name)?.take(&found)?;
            column.rename(format!("{}.{name}", self.table).into());
            rows.with_column(column)?;
        }
        Ok(rows)
    }

    fn read(&self, context: &WorkContext) -> Result<Arc<DataFrame>, WorkError> {
        let digests: Vec<Digest> = context.shards(&self.table).iter().map(|shard| shard.digest).collect();
        if let Some((last, rows)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && *last == digests
        {
            return Ok(Arc::clone(rows));
        }
        let mut columns: Vec<&str> = vec![&self.key];
        columns.extend(self.columns.iter().map(String::as_str).filter(|name| *name != self.key));
        let rows = Arc::new(context.table(&self.table, Some(&columns))?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((digests, Arc::clone(&rows)));
        Ok(rows)
    }
}
