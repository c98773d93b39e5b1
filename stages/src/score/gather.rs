//! The columns of all scorers side by side. Rows are those of the first: what it could not score, such as a damaged
//! picture, has no scores at all; what only another could not, has a null there.

use std::collections::BTreeMap;

use cafe_pipeline::stage::{BatchOutcome, ROW, RowWork, TableDecl, WorkContext, WorkError};
use polars::prelude::*;

use super::compile::ID;
use crate::join::Join;

/// A scorer's table.
pub(super) struct Part {
    join: Join,
}

impl Part {
    pub(super) fn new(table: TableDecl) -> Self {
        let columns: Vec<String> = table.columns.iter_names().skip(1).map(ToString::to_string).collect();
        Self { join: Join::new(table.name, ID, columns) }
    }
}

/// The work of the stage's last node.
pub(super) struct GatherWork {
    /// All but the first, which gives the rows.
    others: Vec<Part>,
    /// `clip`, and the column that it is a copy of.
    chosen: Option<(String, String)>,
    writes: TableDecl,
}

impl GatherWork {
    pub(super) fn new(parts: Vec<Part>, chosen: Option<(String, String)>, writes: TableDecl) -> Self {
        Self { others: parts.into_iter().skip(1).collect(), chosen, writes }
    }
}

impl RowWork for GatherWork {
    fn row_id(&self) -> &str {
        ID
    }

    fn batch_rows(&self) -> usize {
        65_536
    }

    fn prepare(&self, context: &WorkContext, mut rows: DataFrame) -> Result<DataFrame, WorkError> {
        for Part { join } in &self.others {
            rows = join.add(context, rows)?;
            for name in &join.columns {
                rows.rename(&format!("{}.{name}", join.table), name.as_str().into())?;
            }
        }
        Ok(rows)
    }

    fn process(&self, _context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let mut rows = rows.clone();
        if let Some((name, of)) = &self.chosen {
            let mut column = rows.column(of)?.clone();
            column.rename(name.as_str().into());
            rows.with_column(column)?;
        }
        let mut scores = rows.select(self.writes.columns.iter_names().cloned())?;
        let n_rows = u32::try_from(scores.height()).unwrap_or(u32::MAX);
        scores.with_column(Column::new(ROW.into(), (0..n_rows).collect::<Vec<u32>>()))?;
        Ok(BatchOutcome { tables: BTreeMap::from([(self.writes.name.clone(), scores)]), ..BatchOutcome::default() })
    }
}
