//! Rows with their scores in, verdicts out.

use std::collections::BTreeMap;

use cafe_pipeline::stage::{BatchOutcome, ErrorClass, QuarantinedRow, ROW, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::config::Missing;
use super::rule::{Finding, Rule};
use super::scores;
use super::select::{Best, COMPETES};
use crate::tables;

/// The column that [`FilterWork::prepare`] adds where the best is chosen: why a row that passes the rules is not kept.
const LOST: &str = "_lost";

/// The work of a `filter` node.
pub(super) struct FilterWork {
    pub(super) table: &'static str,
    pub(super) id_column: &'static str,
    pub(super) rules: Vec<Rule>,
    /// Which of the rows that pass the rules is kept; `None` for all.
    pub(super) best: Option<Best>,
    /// The score columns that rules and choice look at.
    pub(super) columns: Vec<String>,
    /// The rules as text.
    pub(super) thresholds: String,
    pub(super) missing: Missing,
}

impl RowWork for FilterWork {
    fn row_id(&self) -> &str {
        self.id_column
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec![self.id_column.to_owned()])
    }

    fn batch_rows(&self) -> usize {
        // A row is a few numbers, and each batch reads the scores of its shard.
        65_536
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        let mut rows = scores::join(context, rows, self.id_column, &self.columns)?;
        if let Some(best) = &self.best {
            let lost = self.lost(context, best, &rows)?;
            rows.with_column(lost)?;
        }
        Ok(rows)
    }

    fn process(&self, _context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let mut reasons = self.judge(rows)?;
        if self.best.is_some() {
            for (reason, lost) in reasons.iter_mut().zip(rows.column(LOST)?.str()?.iter()) {
                if reason.is_none() {
                    *reason = lost.map(|lost| Finding::Fail(lost.to_owned()));
                }
            }
        }
        let mut outcome = BatchOutcome::default();
        let mut kept: Vec<(u32, Option<String>)> = Vec::with_capacity(rows.height());
        for (row, reason) in (0_u32..).zip(reasons) {
            match (reason, self.missing) {
                (None | Some(Finding::Pass), _) => kept.push((row, None)),
                (Some(Finding::Fail(reason)), _) => kept.push((row, Some(reason))),
                (Some(Finding::Missing(what)), Missing::Reject) => kept.push((row, Some(format!("{what} is missing")))),
                (Some(Finding::Missing(what)), Missing::Error) => outcome.quarantined.push(QuarantinedRow {
                    row,
                    class: ErrorClass::Invalid,
                    message: format!(
                        "{what} is missing for this row of {}; `missing = \"reject\"` would reject it instead",
                        self.table
                    ),
                }),
            }
        }
        outcome.tables = BTreeMap::from([(tables::VERDICTS.to_owned(), self.verdicts(rows, kept)?)]);
        Ok(outcome)
    }
}

impl FilterWork {
    /// What the first rule that a row does not pass says of it; `None` where it passes all, and can be compared with others.
    fn judge(&self, rows: &DataFrame) -> Result<Vec<Option<Finding>>, WorkError> {
        let mut reasons: Vec<Option<Finding>> = vec![None; rows.height()];
        for rule in &self.rules {
            // What a rule cannot do for one row, such as comparing a text with a number, it can do for none.
            let findings = rule.judge(rows).map_err(WorkError::Systemic)?;
            for (reason, finding) in reasons.iter_mut().zip(findings) {
                if reason.is_none() && finding != Finding::Pass {
                    *reason = Some(finding);
                }
            }
        }
        if let Some(best) = &self.best {
            let values = best.by.values(rows).map_err(WorkError::Systemic)?;
            for (row, (reason, value)) in reasons.iter_mut().zip(values).enumerate() {
                if reason.is_none() && value.is_none() {
                    *reason = Some(Finding::Missing(best.by.missing(rows, row)));
                }
            }
        }
        Ok(reasons)
    }

    /// Of a batch, the column [`LOST`]. What is chosen depends on all rows of the shard, never on those of the batch.
    fn lost(&self, context: &WorkContext, best: &Best, rows: &DataFrame) -> Result<Column, WorkError> {
        let whole = context.table(self.table, Some(&COMPETES))?;
        let whole = scores::join(context, whole, self.id_column, &self.columns)?;
        let passes: Vec<bool> = self.judge(&whole)?.iter().map(Option::is_none).collect();
        let losers = best.losers(context, &whole, &passes)?;
        let ids = rows.column(self.id_column)?.str()?;
        let lost: Vec<Option<&str>> = ids.iter().map(|id| losers.get(id?).map(String::as_str)).collect();
        Ok(Column::new(LOST.into(), lost))
    }

    fn verdicts(&self, rows: &DataFrame, kept: Vec<(u32, Option<String>)>) -> PolarsResult<DataFrame> {
        let positions = IdxCa::from_vec(ROW.into(), kept.iter().map(|(row, _)| IdxSize::from(*row)).collect());
        let (kept, reasons): (Vec<u32>, Vec<Option<String>>) = kept.into_iter().unzip();
        let accepted: Vec<bool> = reasons.iter().map(Option::is_none).collect();
        DataFrame::new(
            kept.len(),
            vec![
                rows.column(self.id_column)?.take(&positions)?,
                Column::new("accepted".into(), accepted),
                Column::new("reason".into(), reasons),
                Column::new_scalar(
                    "thresholds".into(),
                    Scalar::from(PlSmallStr::from_str(&self.thresholds)),
                    kept.len(),
                ),
                Column::new(ROW.into(), kept),
            ],
        )
    }
}
