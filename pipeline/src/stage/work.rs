//! The three kinds of work: listing rows, treating rows one by one, treating whole tables.

use std::collections::BTreeMap;
use std::time::Duration;

use polars::prelude::{AnyValue, DataFrame};
use serde::{Deserialize, Serialize};

use super::context::WorkContext;
use super::error::{ErrorClass, WorkError};
use super::node::FanOut;
use super::rejects::Rejects;
use crate::catalog::{Effect, QuarantineEntry};

/// Name of the `UInt32` column by which a frame made by [`RowWork::process`] says from which row of the batch
/// (0-based) each of its rows was made. The executor takes it off before writing.
pub const ROW: &str = "_row";

/// Makes the listing that a source or barrier node is cut into shards by.
pub trait Lister: Send + Sync {
    /// One row per row of work, in a reproducible order. `context` has inputs for a barrier, none for a source.
    ///
    /// # Errors
    /// When the outside world, or the inputs, cannot be read. Faults of single rows are not errors here: they are left
    /// to the work itself, which can quarantine them.
    fn list(&self, context: &WorkContext) -> Result<DataFrame, WorkError>;

    /// For a barrier: whether a row of the listing decides, with the settings, all that is made of it. Then shards
    /// outlive a listing that has changed elsewhere: a picture that is added makes one shard again, not all of them.
    fn is_complete(&self) -> bool {
        false
    }

    /// For a barrier: why nothing may be made of what it lists, where the rows that its inputs have in quarantine are a
    /// reason. Asked when all inputs are there, and before the barrier opens; it stops the stage as
    /// [`WorkError::Systemic`] does.
    fn objection(&self, quarantined: &[QuarantineEntry]) -> Option<String> {
        let _ = quarantined;
        None
    }
}

/// Work on independent rows. What it makes of a row must depend on the row, the settings and the seed only, never on the
/// shard's index, the batch's other rows, the attempt or the time.
pub trait RowWork: Send + Sync {
    /// The column of the first input that names a row in quarantine and journal.
    fn row_id(&self) -> &str;

    /// The columns of the first input that [`Self::process`] wants; `None` for all. Pixels are only read when named.
    fn columns(&self) -> Option<Vec<String>> {
        None
    }

    /// Rows per call of [`Self::process`], counted on a fixed grid of the shard.
    fn batch_rows(&self) -> usize {
        64
    }

    /// Whether each finished batch is journaled, so that a kill loses a batch and not a shard. Worth its fsync where a
    /// row costs more than some milliseconds.
    fn journaled(&self) -> bool {
        false
    }

    /// How long a row may take before its process is taken for hung.
    fn row_deadline(&self) -> Duration {
        Duration::from_secs(120)
    }

    /// How many rows a done row makes.
    fn fan_out(&self) -> FanOut {
        FanOut::One
    }

    /// How many rows of the first table a row is expected to make, for estimates before that was measured.
    fn expected_fan_out(&self) -> f64 {
        1.0
    }

    /// Adds to a batch what its rows need from other tables. What it returns is what decides the rows' results: it is
    /// what [`Self::process`] gets, and its values are the keys under which a journal keeps them.
    ///
    /// # Errors
    /// See [`WorkError`].
    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        let _ = context;
        Ok(rows)
    }

    /// What it runs on, recorded with the shard: `cpu`, `onnxruntime`, `cuda:0`, …
    fn backend(&self) -> String {
        "cpu".to_owned()
    }

    /// Treats a batch of prepared rows.
    ///
    /// # Errors
    /// See [`WorkError`]. Where the faulty row is known, put it into [`BatchOutcome::quarantined`] instead; a poison
    /// error makes the executor find it by bisection.
    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError>;
}

/// What became of the rows of a batch. A row that is neither quarantined nor a duplicate is done.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// Table name → rows made, each with [`ROW`]; the executor puts them into the order of their input rows.
    pub tables: BTreeMap<String, DataFrame>,
    /// Rows at fault.
    pub quarantined: Vec<QuarantinedRow>,
    /// Rows that stand elsewhere already.
    pub duplicates: Vec<DuplicateRow>,
    /// What the batch cost beyond wall time.
    pub cost: Cost,
}

/// A row at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedRow {
    /// Position in the batch.
    pub row: u32,
    /// What it is filed under.
    pub class: ErrorClass,
    /// What was wrong, with what would be right.
    pub message: String,
}

/// A row that stands elsewhere already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicateRow {
    /// Position in the batch.
    pub row: u32,
    /// What it is a duplicate of, for a person to find it.
    pub of: String,
}

/// What work cost, beyond the wall time that the executor measures itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Time on an accelerator, or of an external program.
    pub device_ms: u64,
    /// Tokens read by language models.
    pub prompt_tokens: u64,
    /// Tokens written by language models.
    pub completion_tokens: u64,
    /// Tries made, those included whose result was thrown away.
    pub n_tries: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.device_ms += other.device_ms;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.n_tries += other.n_tries;
    }
}

/// Work over whole tables.
pub trait WholeWork: Send + Sync {
    /// Does it. Must be safe to do twice: a crash after it and before the commit makes it run again.
    ///
    /// # Errors
    /// See [`WorkError`].
    fn run(&self, context: &WorkContext) -> Result<WholeOutcome, WorkError>;

    /// Which pictures nobody needs once it is committed, where it can say so.
    fn rejects(&self) -> Option<&dyn Rejects> {
        None
    }

    /// How many rows of the first table it is expected to make of `n_in`, for estimates.
    fn expected_rows(&self, n_in: u64) -> u64 {
        n_in
    }

    /// What it runs on, as [`RowWork::backend`].
    fn backend(&self) -> String {
        "cpu".to_owned()
    }
}

/// What whole-table work made.
#[derive(Debug, Default)]
pub struct WholeOutcome {
    /// Table name → rows, without [`ROW`].
    pub tables: BTreeMap<String, DataFrame>,
    /// Rows read: all are done.
    pub n_in: u64,
    /// Changes to the catalog, committed together with the shard.
    pub effects: Vec<Effect>,
    /// What it cost.
    pub cost: Cost,
}

/// The text of a row's id, for quarantine and journal.
#[must_use]
pub fn id_text(value: &AnyValue<'_>) -> String {
    value.get_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
