//! Pairs as the models see them: encoded before the training begins, once.

use std::path::{Path, PathBuf};

use cafe_engine::EngineError;
use cafe_engine::picture::on_white;
use cafe_engine::train::{EncodedRows, EncodedTable};
use cafe_engine::weights::Weights;
use cafe_pipeline::digest::Hasher;
use image::RgbImage;

use super::error::TrainError;
use super::run_loop::Watch;
use crate::training_pairs::TrainingPairs;

/// Pictures that are in the models at once: a shard of 64 would need gigabytes at 512 px.
const BATCH_ROWS: usize = 4;

/// What is encoded.
pub struct Encoding<'a> {
    /// The pairs.
    pub pairs: &'a TrainingPairs,
    /// Which of the pairs, in order.
    pub rows: &'a [usize],
    /// Height and width of what the VAE sees, where one is among the models.
    pub size_px: Option<(u32, u32)>,
}

/// Models that see references and targets.
pub trait Pictures {
    /// What they make of pictures of the same number; `targets` is empty where none are wanted.
    ///
    /// # Errors
    /// Of the tensors.
    fn encode(&self, references: &[RgbImage], targets: &[RgbImage]) -> Result<EncodedRows, EngineError>;
}

/// Encodes what is not in `folder` yet by the models in `models`, which are loaded if there is anything to do; `None` when a stop
/// was asked for.
///
/// # Errors
/// When a picture or a model cannot be read, or nothing can be written.
pub fn encode<P: Pictures>(
    encoding: &Encoding<'_>,
    models: &[PathBuf],
    folder: &Path,
    watch: Watch<'_>,
    load: impl FnOnce() -> Result<P, EngineError>,
) -> Result<Option<EncodedTable>, TrainError> {
    let fingerprint = fingerprint(encoding, models)?;
    let mut encoded = EncodedTable::open(folder, encoding.rows.len(), &fingerprint)?;
    let missing = encoded.missing();
    if missing.is_empty() {
        return Ok(Some(encoded));
    }
    let models = load()?;
    let n_rows: usize = missing.iter().map(|(_, n_rows)| n_rows).sum();
    let mut n_done = 0;
    for (offset, n_rows_here) in missing {
        let mut parts = Vec::new();
        let rows = encoding.rows.get(offset..offset + n_rows_here).unwrap_or_default();
        for rows in rows.chunks(BATCH_ROWS) {
            if watch.cancel.is_cancelled() {
                return Ok(None);
            }
            let (mut references, mut targets) = (Vec::new(), Vec::new());
            // Neighbours are read together.
            for run in rows.chunk_by(|row, next| row + 1 == *next) {
                let read = encoding.pairs.read(run.first().copied().unwrap_or_default(), run.len());
                for pair in read? {
                    references.push(on_white(&pair.reference));
                    targets.extend(pair.target.as_ref().map(on_white));
                }
            }
            parts.push(models.encode(&references, &targets)?);
            n_done += rows.len();
            (watch.told)("encode pairs", n_done, n_rows);
        }
        encoded.write(offset, &EncodedRows::concat(&parts)?)?;
    }
    Ok(Some(encoded))
}

/// Of all that decides what the encoded rows are.
pub(super) fn fingerprint(encoding: &Encoding<'_>, models: &[PathBuf]) -> Result<String, TrainError> {
    let mut hasher = Hasher::new("encoded-pairs/v2").text("pairs", &encoding.pairs.fingerprint()?);
    for row in encoding.rows {
        hasher = hasher.number("row", *row as u64);
    }
    for folder in models {
        let weights = Weights::open(folder).map_err(EngineError::from)?;
        hasher = hasher.text("weights", &weights.digest().map_err(EngineError::from)?);
        for name in ["config.json", "preprocessor_config.json"] {
            hasher = hasher.bytes(name, &std::fs::read(folder.join(name)).unwrap_or_default());
        }
    }
    let (height, width) = encoding.size_px.unwrap_or_default();
    Ok(hasher.number("height", height.into()).number("width", width.into()).row_id())
}
