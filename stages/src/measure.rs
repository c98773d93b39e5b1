//! Image statistics for the rows of a Parquet file: the reference program for `command` stages, run as
//! `cafe-data measure INPUT OUTPUT` or, with `--serve`, as a long-lived process. It keeps to the contract in
//! `manifests/adapters/README.md` like any program of a user.

mod serve;
mod stats;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use cafe_pipeline::frame;
use polars::prelude::*;
pub use serve::serve;
pub use stats::{ImageStats, decode};

/// Raised by hand when the same picture comes to have other statistics; part of the fingerprint of stages that run us.
pub const OUTPUT_VERSION: u32 = 1;

/// Id columns looked for when none is given, the most specific first.
const ID_COLUMNS: [&str; 3] = ["candidate_id", "pair_id", "reference_id"];

/// The column of pictures.
const IMAGE: &str = "image";

/// A statistic: its column, and how it is taken.
type Statistic = (&'static str, fn(&ImageStats) -> f64);

/// The statistics, in the order of the columns.
const STATISTICS: [Statistic; 8] = [
    ("sharpness", |stats| stats.sharpness),
    ("brightness", |stats| stats.brightness),
    ("contrast", |stats| stats.contrast),
    ("colourfulness", |stats| stats.colourfulness),
    ("saturation", |stats| stats.saturation),
    ("mean_red", |stats| stats.mean_red),
    ("mean_green", |stats| stats.mean_green),
    ("mean_blue", |stats| stats.mean_blue),
];

/// Why a file could not be measured. Faults of single pictures are not errors: they stand in the column `_error`.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The input cannot be opened, or is not Parquet.
    #[error("cannot read {path}: {message}")]
    Input {
        /// The input.
        path: PathBuf,
        /// What the file system or the decoder said.
        message: String,
    },
    /// A column is missing or has the wrong type.
    #[error("{0}")]
    Columns(String),
    /// The output cannot be written.
    #[error("cannot write {path}: {source}")]
    Output {
        /// The output.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Polars could not build or encode the output.
    #[error("cannot make the output: {0}")]
    Encode(#[from] PolarsError),
    /// The conversation in serve mode broke.
    #[error("cannot talk to the caller: {0}")]
    Talk(#[source] io::Error),
}

impl MeasureError {
    /// The exit code that the contract has for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Columns(_) => 78,
            Self::Output { .. } | Self::Talk(_) => 75,
            Self::Input { .. } | Self::Encode(_) => 1,
        }
    }

    /// The class that the protocol has for it.
    fn class(&self) -> &'static str {
        match self.exit_code() {
            78 => "systemic",
            75 => "transient",
            _ => "poison",
        }
    }
}

/// Measures the pictures in the column `image` of the Parquet file `input`, and writes their statistics to `output`, one
/// row for each. `id_column` names the rows; left out, it is the first of `candidate_id`, `pair_id` and `reference_id`.
///
/// # Errors
/// See [`MeasureError`].
pub fn run(input: &Path, output: &Path, id_column: Option<&str>) -> Result<(), MeasureError> {
    measure(input, output, id_column, || Ok(()))
}

/// The same, calling `beat` before each picture.
fn measure(
    input: &Path,
    output: &Path,
    id_column: Option<&str>,
    mut beat: impl FnMut() -> Result<(), MeasureError>,
) -> Result<(), MeasureError> {
    let unreadable = |message: String| MeasureError::Input { path: input.to_owned(), message };
    let open = || File::open(input).map_err(|error| unreadable(error.to_string()));
    let schema = frame::columns(open()?).map_err(|error| unreadable(error.to_string()))?;
    let id_column = choose_id(&schema, id_column)?;
    if !schema.contains(IMAGE) {
        return Err(MeasureError::Columns(format!("the input has no column `{IMAGE}`: it has {}", names(&schema))));
    }
    let wanted = [id_column.clone(), IMAGE.to_owned()];
    let rows = frame::read(open()?, Some(&wanted)).map_err(|error| unreadable(error.to_string()))?;
    let images = rows.column(IMAGE)?;
    let bytes = images.struct_().ok().and_then(|fields| fields.field_by_name("bytes").ok());
    let bytes = bytes.as_ref().and_then(|bytes| bytes.binary().ok()).ok_or_else(|| {
        MeasureError::Columns(format!(
            "column `{IMAGE}` must be a struct with a binary field `bytes`, but is {}",
            images.dtype()
        ))
    })?;

    let mut measured: Vec<Option<ImageStats>> = Vec::with_capacity(rows.height());
    let mut errors: Vec<Option<String>> = Vec::with_capacity(rows.height());
    for bytes in bytes.iter() {
        beat()?;
        let result = bytes.ok_or_else(|| "has no image".to_owned()).and_then(stats_of);
        match result {
            Ok(stats) => {
                measured.push(Some(stats));
                errors.push(None);
            }
            Err(message) => {
                measured.push(None);
                errors.push(Some(message));
            }
        }
    }
    let mut columns = vec![rows.column(&id_column)?.clone()];
    for (name, take) in STATISTICS {
        let values: Vec<Option<f64>> = measured.iter().map(|stats| stats.as_ref().map(take)).collect();
        columns.push(Column::new(name.into(), values));
    }
    columns.push(Column::new("_error".into(), errors));
    let encoded = frame::to_parquet(&mut DataFrame::new(rows.height(), columns)?, &[])?;
    fs::write(output, encoded).map_err(|source| MeasureError::Output { path: output.to_owned(), source })
}

/// Pictures come from outside: a panic in a decoder is this picture's error, and must not cost the others their result.
fn stats_of(bytes: &[u8]) -> Result<ImageStats, String> {
    catch_unwind(|| decode(bytes).map(|image| ImageStats::of(&image)))
        .unwrap_or_else(|_| Err("cannot decode the image: the decoder panicked".to_owned()))
}

fn choose_id(schema: &Schema, given: Option<&str>) -> Result<String, MeasureError> {
    let found = match given {
        Some(name) => schema.contains(name).then_some(name),
        None => ID_COLUMNS.into_iter().find(|name| schema.contains(name)),
    };
    found.map(ToOwned::to_owned).ok_or_else(|| {
        let wanted = given.map_or_else(|| ID_COLUMNS.join("`, `"), ToOwned::to_owned);
        MeasureError::Columns(format!("the input has no id column (`{wanted}`): it has {}", names(schema)))
    })
}

fn names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.iter_names().map(PlSmallStr::as_str).collect();
    format!("`{}`", names.join("`, `"))
}
