//! Pairs in, donors out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cafe_pipeline::stage::{BatchOutcome, Cost, ErrorClass, FanOut, QuarantinedRow, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::donors::{Common, Donor};
use super::generated::Generated;
use super::nearest::Nearest;
use crate::picture::Fault;
use crate::tables;

/// The work of a `retrieve` node.
pub(super) struct RetrieveWork {
    pub(super) from: From,
    pub(super) common: Common,
    pub(super) deadline: Duration,
}

/// Where w comes from.
pub(super) enum From {
    Generated(Box<Generated>),
    Nearest(Box<Nearest>),
}

impl From {
    fn donors(
        &self,
        context: &WorkContext,
        row: u32,
        pair: &str,
        caption: &str,
    ) -> Result<Result<Vec<Donor>, Fault>, WorkError> {
        match self {
            Self::Generated(generated) => generated.donors(context.seed, row, pair, caption),
            Self::Nearest(nearest) => nearest.donors(context, row, pair, caption),
        }
    }

    /// Pictures that are kept of a pair.
    fn n_kept(&self) -> usize {
        match self {
            Self::Generated(generated) => generated.keep,
            Self::Nearest(nearest) => nearest.keep,
        }
    }

    /// Pictures that are made or looked at for a pair.
    fn n_tries(&self) -> u64 {
        match self {
            Self::Generated(generated) => generated.tries.into(),
            Self::Nearest(_) => 1,
        }
    }
}

impl RowWork for RetrieveWork {
    fn row_id(&self) -> &str {
        "pair_id"
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["pair_id".to_owned(), "caption".to_owned()])
    }

    fn batch_rows(&self) -> usize {
        8
    }

    fn journaled(&self) -> bool {
        // A journal knows a row by what stands in it, and an index is not in it; to search again costs little.
        matches!(self.from, From::Generated(_))
    }

    fn row_deadline(&self) -> Duration {
        self.deadline
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn expected_fan_out(&self) -> f64 {
        self.from.n_kept() as f64
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let (pairs, captions) = (rows.column("pair_id")?.str()?, rows.column("caption")?.str()?);
        let mut outcome = BatchOutcome::default();
        let (mut donors, began) = (Vec::new(), Instant::now());
        for (row, (pair, caption)) in (0_u32..).zip(pairs.iter().zip(captions.iter())) {
            context.cancel.check()?;
            let made = match (pair, caption) {
                (Some(pair), Some(caption)) => self.from.donors(context, row, pair, caption)?,
                _ => Err(Fault::new(ErrorClass::Invalid, "the pair has no id or no caption")),
            };
            outcome.cost.n_tries += self.from.n_tries();
            match made {
                Ok(mut made) => donors.append(&mut made),
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let device_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcome.cost += Cost { device_ms, ..Cost::default() };
        outcome.tables = BTreeMap::from([(tables::DONORS.to_owned(), self.common.table(&donors)?)]);
        Ok(outcome)
    }
}
