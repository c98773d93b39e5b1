//! Pairs as the models see them: encoded before the training begins, once.

use std::path::Path;

use cafe_engine::cafe::{Family, ImageEncoders, Role};
use cafe_engine::picture::on_white;
use cafe_engine::train::{DiffusionBatch, EncodedRows, EncodedTable};
use cafe_engine::vae::AutoencoderKl;
use cafe_engine::weights::Weights;
use cafe_engine::{DType, Device};
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::Cancel;
use cafe_stages::training_pairs::TrainingPairs;

use crate::failure::Failure;
use crate::progress::steps;

/// Pictures that are in the models at once: a shard of 64 would need gigabytes at 512 px.
const BATCH_ROWS: usize = 4;

/// Encodes what is not in `folder` yet; `None` when a stop was asked for.
pub(super) fn encode(
    pairs: &TrainingPairs,
    family: &Family,
    size_px: (u32, u32),
    folder: &Path,
    cancel: &Cancel,
) -> Result<Option<EncodedTable>, Failure> {
    let device = Device::Cpu;
    let fingerprint = fingerprint(pairs, family, size_px)?;
    let mut encoded = EncodedTable::open(folder, pairs.n_rows(), &fingerprint)?;
    let missing = encoded.missing();
    if missing.is_empty() {
        return Ok(Some(encoded));
    }
    let encoders = ImageEncoders::load(family, &device)?;
    let vae = AutoencoderKl::load(&family.folder(Role::TextToImage).join("vae"), DType::F32, &device)?;
    let n_rows: usize = missing.iter().map(|(_, n_rows)| n_rows).sum();
    let shown = steps("encode pairs");
    let mut n_done = 0;
    for (offset, n_rows_here) in missing {
        let mut parts = Vec::new();
        for start in (offset..offset + n_rows_here).step_by(BATCH_ROWS) {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            let n = BATCH_ROWS.min(offset + n_rows_here - start);
            let read =
                pairs.read(start, n).map_err(|error| Failure::usage(error.to_string(), "mend or remove the row"))?;
            let references: Vec<_> = read.iter().map(|pair| on_white(&pair.reference)).collect();
            let targets: Vec<_> = read.iter().map(|pair| on_white(&pair.target)).collect();
            parts.push(DiffusionBatch::encode(&encoders, &vae, (&references, &targets), size_px, &device)?);
            n_done += n;
            shown.at(n_done, n_rows);
        }
        encoded.write(offset, &EncodedRows::concat(&parts)?)?;
    }
    Ok(Some(encoded))
}

/// Of all that decides what the encoded rows are.
fn fingerprint(pairs: &TrainingPairs, family: &Family, (height, width): (u32, u32)) -> Result<String, Failure> {
    let read = pairs.fingerprint().map_err(|error| Failure::usage(error.to_string(), "name other pairs"))?;
    let mut hasher = Hasher::new("encoded-pairs/v1").text("pairs", &read);
    for folder in [
        family.folder(Role::ClipCondition),
        family.folder(Role::DinoCondition),
        family.folder(Role::TextToImage).join("vae"),
    ] {
        hasher = hasher.text(
            "weights",
            &Weights::open(&folder)
                .map_err(cafe_engine::EngineError::from)?
                .digest()
                .map_err(cafe_engine::EngineError::from)?,
        );
        for name in ["config.json", "preprocessor_config.json"] {
            hasher = hasher.bytes(name, &std::fs::read(folder.join(name)).unwrap_or_default());
        }
    }
    Ok(hasher.number("height", height.into()).number("width", width.into()).row_id())
}
