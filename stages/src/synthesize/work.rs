//! Donors or pairs in, candidates out.

use std::time::{Duration, Instant};

use cafe_pipeline::stage::{BatchOutcome, Cost, ErrorClass, FanOut, QuarantinedRow, RowWork, WorkContext, WorkError};
use image::RgbImage;
use polars::prelude::*;

use super::assistant::CafeAssistant;
use super::candidates::{Candidate, Made, Origin, Sample};
use super::config::Told;
use super::profusion::{Asked, ProFusion};
use super::sid::Sid;
use super::trained::{Trained, TrainedWeights};
use crate::join::Join;
use crate::picture::{self, Fault};
use crate::tables;

/// Where tuned weights are kept, in the project's folder: what they cost is not paid twice, and they can be thrown away.
const TUNED: &str = "cache/profusion";

/// The work of a `synthesize` node.
pub(super) struct SynthesizeWork {
    pub(super) generator: Generator,
    pub(super) joins: Vec<Join>,
    pub(super) samples: u32,
    pub(super) made: Made,
    pub(super) deadline: Duration,
    pub(super) trained: TrainedWeights,
}

/// What makes the images, and of what.
pub(super) enum Generator {
    /// Of donors.
    Sid(Box<Sid>),
    /// Of pairs.
    ProFusion(Box<ProFusion>),
    /// Of pairs, and the words of them that the assistant is told.
    Assistant(Box<CafeAssistant>, Told),
}

impl Generator {
    /// Images of a row and a sample.
    fn n_images(&self) -> f64 {
        match self {
            Self::Sid(sid) => sid.n_alphas() as f64,
            Self::ProFusion(_) => 1.0,
            Self::Assistant(assistant, _) => assistant.alphas.len() as f64,
        }
    }
}

impl RowWork for SynthesizeWork {
    fn row_id(&self) -> &str {
        match self.generator {
            Generator::Sid(_) => "w_id",
            Generator::ProFusion(_) | Generator::Assistant(..) => "pair_id",
        }
    }

    fn columns(&self) -> Option<Vec<String>> {
        let columns: &[&str] = match self.generator {
            Generator::Sid(_) => &["w_id", "pair_id", "image"],
            Generator::ProFusion(_) => &["pair_id", "reference_id", "class", "caption"],
            Generator::Assistant(_, told) => &["pair_id", "reference_id", told.column()],
        };
        Some(columns.iter().map(ToString::to_string).collect())
    }

    fn batch_rows(&self) -> usize {
        // What is lost when a process dies: some images.
        4
    }

    fn journaled(&self) -> bool {
        true
    }

    fn row_deadline(&self) -> Duration {
        self.deadline
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn expected_fan_out(&self) -> f64 {
        f64::from(self.samples) * self.generator.n_images()
    }

    fn prepare(&self, context: &WorkContext, mut rows: DataFrame) -> Result<DataFrame, WorkError> {
        if let Some(Trained { digest, .. }) = self.trained.of(context)? {
            rows.with_column(Column::new("weights".into(), vec![digest; rows.height()]))?;
        }
        self.joins.iter().try_fold(rows, |rows, join| {
            let mut rows = join.add(context, rows)?;
            // The next join is by what this one has added.
            if join.table == tables::PAIRS {
                rows.rename("pairs.reference_id", "reference_id".into())?;
            }
            Ok(rows)
        })
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let rows = Rows { frame: rows, n: rows.height() };
        let trained = self.trained.of(context)?;
        let mut outcome = BatchOutcome::default();
        let mut made = Vec::new();
        let began = Instant::now();
        for row in 0..rows.n {
            context.cancel.check()?;
            match self.row(context, &rows, row, trained.as_ref()) {
                Ok((candidates, cost)) => {
                    made.extend(candidates);
                    outcome.cost += cost;
                }
                // The engine says itself which row it was.
                Err(WorkError::Poison { class, message }) => {
                    let row = u32::try_from(row).unwrap_or(u32::MAX);
                    outcome.quarantined.push(QuarantinedRow { row, class, message });
                }
                Err(error) => return Err(error),
            }
        }
        outcome.cost += Cost {
            device_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            n_tries: made.len() as u64,
            ..Cost::default()
        };
        let trained = trained.as_ref().map(|trained| trained.digest.as_str());
        outcome.tables = self.made.tables(&made, trained, context.seed)?;
        Ok(outcome)
    }
}

impl SynthesizeWork {
    /// The candidates of one row, and what was spent on them beside time.
    fn row(
        &self,
        context: &WorkContext,
        rows: &Rows<'_>,
        row: usize,
        trained: Option<&Trained>,
    ) -> Result<(Vec<Candidate>, Cost), WorkError> {
        let (pair_id, reference_id) = (rows.text("pair_id", row)?, rows.text("reference_id", row)?);
        let reference = rows.image("references.image", row, "the reference")?;
        let seed = context.seed.child("synthesize");
        let mut cost = Cost::default();
        let (w_id, samples) = match &self.generator {
            Generator::Sid(sid) => {
                let w_id = rows.text("w_id", row)?;
                let donor = rows.image("image", row, "w")?;
                let samples =
                    sid.make((seed.child(w_id), self.samples), trained, (reference_id, &reference), &donor)?;
                (Some(w_id), samples)
            }
            Generator::ProFusion(profusion) => {
                let (class, caption) = (rows.text("class", row)?, rows.text("caption", row)?);
                let asked = Asked { reference_id, reference: &reference, class, caption };
                let cache = context.storage.root().join(TUNED);
                (None, profusion.make((context.seed, seed.child(pair_id)), self.samples, asked, &cache)?)
            }
            Generator::Assistant(assistant, told) => {
                let told = rows.text(told.column(), row)?;
                let of = (reference_id, &reference);
                let (samples, tokens) = assistant.make(seed.child(pair_id), self.samples, of, told)?;
                cost = tokens;
                (None, samples)
            }
        };
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        let of = Origin { row, pair_id, w_id, reference_id };
        let candidate = |sample: &Sample| Candidate::new(of, sample).map_err(poison);
        Ok((samples.iter().map(candidate).collect::<Result<_, _>>()?, cost))
    }
}

fn poison(fault: Fault) -> WorkError {
    WorkError::poison(fault.class, fault.message)
}

/// The prepared rows of a batch, by name of column.
struct Rows<'a> {
    frame: &'a DataFrame,
    n: usize,
}

impl<'a> Rows<'a> {
    fn text(&self, name: &str, row: usize) -> Result<&'a str, WorkError> {
        self.frame.column(name)?.str()?.get(row).ok_or_else(|| {
            WorkError::poison(ErrorClass::Invalid, format!("the row has no `{name}`: the tables do not fit each other"))
        })
    }

    fn image(&self, name: &str, row: usize, whose: &str) -> Result<RgbImage, WorkError> {
        let bytes = self.frame.column(name)?.struct_()?.field_by_name("bytes")?;
        picture::for_model(bytes.binary()?.get(row), whose).map_err(poison)
    }
}
