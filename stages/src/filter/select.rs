//! The best of several candidates. Who competes with whom is looked up in the whole shard: all candidates of a pair are in one,
//! since everything that is made of a pair follows the pair's shard, whatever a batch has of it.

use std::cmp::Ordering;
use std::collections::HashMap;

use cafe_pipeline::stage::{WorkContext, WorkError};
use polars::prelude::*;

use super::config::Several;
use super::expression::Expression;
use crate::publish::{Subject, Verdicts};
use crate::tables;

/// The columns that say who competes.
pub(super) const COMPETES: [&str; 3] = ["candidate_id", "pair_id", "w_id"];

/// The choice of the best.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub(super) of: Several,
    pub(super) by: Expression,
}

/// A candidate that may be the best.
#[derive(Clone, Copy)]
struct Competitor<'a> {
    value: f64,
    id: &'a str,
}

impl Competitor<'_> {
    /// Greatest first; of equal ones the id that sorts first, so that no order of rows decides.
    fn order(&self, other: &Self) -> Ordering {
        other.value.total_cmp(&self.value).then_with(|| self.id.cmp(other.id))
    }
}

impl Best {
    /// As the last of the rules.
    pub(super) fn text(&self) -> String {
        format!("the best of its {} by {}", self.whose(), self.by.text)
    }

    /// Why one that is not the best is rejected.
    fn reason(&self) -> String {
        format!("not the best of its {}", self.whose())
    }

    fn whose(&self) -> &'static str {
        match self.of {
            Several::Pair => "pair",
            Several::Donor => "donor",
        }
    }

    /// The candidates that are not kept, each with the reason: of `rows`, which have [`COMPETES`] and all scores, those for which
    /// `passes` holds compete, unless a filter before this one refused them. Its reason is then theirs here, too.
    pub(super) fn losers(
        &self,
        context: &WorkContext,
        rows: &DataFrame,
        passes: &[bool],
    ) -> Result<HashMap<String, String>, WorkError> {
        let earlier = match context.shards(tables::VERDICTS) {
            [] => None,
            _ => Some(Verdicts::read(context, Subject::Candidates)?),
        };
        let [ids, pairs, donors] = COMPETES.map(|name| rows.column(name).and_then(|column| column.str()));
        let (ids, pairs, donors) = (ids?, pairs?, donors?);
        let values = self.by.values(rows).map_err(WorkError::Systemic)?;
        let mut losers = HashMap::new();
        let mut best: HashMap<(&str, Option<&str>), Competitor<'_>> = HashMap::new();
        for (row, value) in values.into_iter().enumerate().filter(|(row, _)| passes.get(*row) == Some(&true)) {
            // Whose pair or number is not known competes with none.
            let (Some(id), Some(pair), Some(value)) = (ids.get(row), pairs.get(row), value) else { continue };
            if let Some(reason) = earlier.as_ref().and_then(|earlier| earlier.refusal(&[id])) {
                losers.insert(id.to_owned(), reason);
                continue;
            }
            let group = match self.of {
                Several::Pair => (pair, None),
                Several::Donor => (pair, donors.get(row)),
            };
            let this = Competitor { value, id };
            let Some(before) = best.insert(group, this) else { continue };
            let loser = if this.order(&before) == Ordering::Less {
                before
            } else {
                best.insert(group, before);
                this
            };
            losers.insert(loser.id.to_owned(), self.reason());
        }
        Ok(losers)
    }
}
