//! Verdicts, row by row.

use std::collections::BTreeMap;

use cafe_pipeline::stage::{BatchOutcome, ErrorClass, QuarantinedRow, ROW, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::config::Missing;
use super::rules::{Rules, Verdict};
use super::scores;
use crate::tables;

/// Judges rows.
pub(super) struct Filter {
    pub(super) id_column: &'static str,
    pub(super) rules: Rules,
    pub(super) missing: Missing,
}

impl RowWork for Filter {
    fn row_id(&self) -> &str {
        self.id_column
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec![self.id_column.to_owned()])
    }

    /// A shard at once: its scores are read once.
    fn batch_rows(&self) -> usize {
        1 << 20
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        scores::add(context, rows, self.id_column, &self.rules.columns())
    }

    fn process(&self, _: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let mut outcome = BatchOutcome::default();
        let ids = rows.column(self.id_column)?.str()?;
        let (mut kept, mut accepted, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        for ((row, id), verdict) in (0_u32..).zip(ids.iter()).zip(self.rules.judge(rows)?) {
            let reason = match (verdict, self.missing) {
                (Verdict::Accepted, _) => None,
                (Verdict::Rejected(reason), _) => Some(reason),
                (Verdict::Missing(column), Missing::Reject) => Some(format!("{column} is missing")),
                (Verdict::Missing(column), Missing::Error) => {
                    let message = format!("score `{column}` is missing: see whether the scorer quarantined the row");
                    outcome.quarantined.push(QuarantinedRow { row, class: ErrorClass::Invalid, message });
                    continue;
                }
            };
            kept.push((row, id));
            accepted.push(reason.is_none());
            reasons.push(reason);
        }
        let (positions, ids): (Vec<u32>, Vec<Option<&str>>) = kept.into_iter().unzip();
        let n_rows = positions.len();
        let table = DataFrame::new(
            n_rows,
            vec![
                Column::new(self.id_column.into(), ids),
                Column::new("accepted".into(), accepted),
                Column::new("reason".into(), reasons),
                Column::new("thresholds".into(), vec![self.rules.text(); n_rows]),
                Column::new(ROW.into(), positions),
            ],
        )?;
        outcome.tables = BTreeMap::from([(tables::VERDICTS.to_owned(), table)]);
        Ok(outcome)
    }
}
