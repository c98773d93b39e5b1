//! Candidates in, what people decided of them out.

use std::collections::BTreeMap;

use cafe_pipeline::stage::{BatchOutcome, ROW, RowWork, WorkContext, WorkError};
use cafe_pipeline::text::counted;
use polars::prelude::*;

use super::config::{Agreement, Unreviewed};
use super::sheet::{Review, Sheet};
use crate::join::Join;
use crate::publish::{Subject, Verdicts};
use crate::tables;

/// The column that [`ReviewWork::prepare`] adds: why a filter above rejected the row, null where none did.
const REFUSAL: &str = "refusal";
/// The reason of a row that nobody has reviewed.
pub(crate) const NOT_REVIEWED: &str = "not reviewed";
/// The reason of a row that was rejected without one.
const REJECTED: &str = "rejected in review";

/// The work of a `review` node.
pub(super) struct ReviewWork {
    pub(super) sheet: Sheet,
    pub(super) unreviewed: Unreviewed,
    pub(super) agreement: Agreement,
    /// The references of pairs, which filters above may have judged.
    pub(super) references: Join,
}

impl RowWork for ReviewWork {
    fn row_id(&self) -> &str {
        "candidate_id"
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["candidate_id".to_owned(), "pair_id".to_owned()])
    }

    fn batch_rows(&self) -> usize {
        // A row is a few ids, and each batch reads the verdicts of its shard.
        65_536
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        let mut rows = self.references.add(context, rows)?;
        let mut refusals: Vec<Option<String>> = vec![None; rows.height()];
        if !context.shards(tables::VERDICTS).is_empty() {
            let verdicts = Verdicts::read(context, Subject::Candidates)?;
            let text = |name: &str| rows.column(name)?.str();
            let ids = [text("candidate_id")?, text("pair_id")?, text("pairs.reference_id")?];
            for (row, refusal) in refusals.iter_mut().enumerate() {
                let chain: Vec<&str> = ids.iter().map_while(|ids| ids.get(row)).collect();
                *refusal = verdicts.refusal(&chain);
            }
        }
        rows.with_column(Column::new(REFUSAL.into(), refusals))?;
        Ok(rows)
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let (ids, refusals) = (rows.column("candidate_id")?.str()?, rows.column(REFUSAL)?.str()?);
        let mut reasons: Vec<Option<String>> = Vec::with_capacity(rows.height());
        let mut n_waiting = 0_u64;
        for (id, refusal) in ids.iter().zip(refusals.iter()) {
            let reviews = id.and_then(|id| self.sheet.of(id));
            reasons.push(match (refusal, reviews, self.unreviewed) {
                (Some(refusal), ..) => Some(refusal.to_owned()),
                (None, Some(reviews), _) => decide(reviews, self.agreement),
                (None, None, Unreviewed::Accept) => None,
                (None, None, Unreviewed::Reject) => Some(NOT_REVIEWED.to_owned()),
                (None, None, Unreviewed::Wait) => {
                    n_waiting += 1;
                    None
                }
            });
        }
        if n_waiting > 0 {
            return Err(WorkError::Unavailable(format!(
                "{} of shard {} wait for a person's verdict; `cafe-data review export -m MANIFEST --stage {} -o DIR` \
                 writes the list of all, `cafe-data review import` takes it when it is filled in",
                counted(n_waiting, "candidate"),
                context.shard_index,
                context.node,
            )));
        }
        let tables = [
            (tables::VERDICTS.to_owned(), self.verdicts(rows, reasons)?),
            (tables::REVIEWS.to_owned(), self.reviews(ids)?),
        ];
        Ok(BatchOutcome { tables: BTreeMap::from(tables), ..BatchOutcome::default() })
    }
}

impl ReviewWork {
    fn verdicts(&self, rows: &DataFrame, reasons: Vec<Option<String>>) -> PolarsResult<DataFrame> {
        let n = rows.height();
        let accepted: Vec<bool> = reasons.iter().map(Option::is_none).collect();
        let thresholds = Scalar::from(PlSmallStr::from_static(self.agreement.text()));
        DataFrame::new(
            n,
            vec![
                rows.column("candidate_id")?.clone(),
                Column::new("accepted".into(), accepted),
                Column::new("reason".into(), reasons),
                Column::new_scalar("thresholds".into(), thresholds, n),
                Column::new(ROW.into(), (0_u32..).take(n).collect::<Vec<_>>()),
            ],
        )
    }

    /// Who said what of these candidates, those included that a filter rejected since.
    fn reviews(&self, ids: &StringChunked) -> PolarsResult<DataFrame> {
        let said = (0_u32..).zip(ids.iter()).flat_map(|(row, id)| {
            let reviews = id.and_then(|id| Some((id, self.sheet.of(id)?)));
            reviews.into_iter().flat_map(move |(id, reviews)| reviews.iter().map(move |review| (row, id, review)))
        });
        let said: Vec<(u32, &str, (&String, &Review))> = said.collect();
        let reviewer = said.iter().map(|(_, _, (who, _))| Some(who.as_str()).filter(|who| !who.is_empty()));
        DataFrame::new(
            said.len(),
            vec![
                Column::new("candidate_id".into(), said.iter().map(|(_, id, _)| *id).collect::<Vec<_>>()),
                Column::new("reviewer".into(), reviewer.collect::<Vec<_>>()),
                Column::new("accepted".into(), said.iter().map(|(.., (_, it))| it.accepted).collect::<Vec<_>>()),
                Column::new("reason".into(), said.iter().map(|(.., (_, it))| it.reason.as_deref()).collect::<Vec<_>>()),
                Column::new("secs".into(), said.iter().map(|(.., (_, it))| it.secs).collect::<Vec<_>>()),
                Column::new(ROW.into(), said.iter().map(|(row, ..)| *row).collect::<Vec<_>>()),
            ],
        )
    }
}

/// Why the candidate is rejected; `None` where it is accepted. The first who rejects it, by name, gives the reason.
fn decide(reviews: &BTreeMap<String, Review>, agreement: Agreement) -> Option<String> {
    let n_accept = reviews.values().filter(|review| review.accepted).count();
    if agreement.holds(n_accept, reviews.len()) {
        return None;
    }
    let reason = reviews.values().filter(|review| !review.accepted).find_map(|review| review.reason.clone());
    Some(reason.unwrap_or_else(|| REJECTED.to_owned()))
}
