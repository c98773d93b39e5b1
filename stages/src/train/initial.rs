//! The UNet at the beginning: the family's own, or one made of the base model's.

use std::collections::BTreeMap;

use super::diffusion::{Diffusion, Initialiser};
use super::encode::{Encoding, fingerprint};
use super::error::TrainError;
use cafe_engine::cafe::{ImageEncoders, Role};
use cafe_engine::encoder::text::TextEncoder;
use cafe_engine::encoder::tokenizer::TextTokenizer;
use cafe_engine::noise::{Noise, NoiseConfig};
use cafe_engine::picture::on_white;
use cafe_engine::train::DiffusionParts;
use cafe_engine::unet::init::{Projections, from_base};
use cafe_engine::unet::{CafeConfig, UNetConfig};
use cafe_engine::vae::VaeConfig;
use cafe_engine::weights::{Metadata, Weights, read_metadata, save};
use cafe_engine::{Device, EngineError, Tensor};

/// Pairs that the regression is fitted on, at most, spread over all of them.
const FITTED_PAIRS: usize = 512;
/// What was fitted, in the folder of the training.
const FITTED: &str = "fitted.safetensors";
/// Pictures that are in the models at once.
const BATCH_ROWS: usize = 8;

/// What is trained, and what it is trained with.
pub(super) fn parts(training: &Diffusion<'_>) -> Result<DiffusionParts, TrainError> {
    let (family, start) = (training.family, &training.plan.start);
    let base = family.folder(Role::TextToImage);
    let noise = NoiseConfig::read(&base.join("scheduler").join("scheduler_config.json"))?;
    let vae = VaeConfig::load(&base.join("vae"))?;
    let own = family.folder(Role::CafeUNet);
    if !start.from_base && own.is_dir() {
        let unet = UNetConfig::read(&own.join("config.json"))?;
        return Ok(DiffusionParts { unet, weights: Weights::open(&own).map_err(EngineError::from)?, noise, vae });
    }
    let folder = base.join("unet");
    let config = UNetConfig::read(&folder.join("config.json"))?;
    let weights = Weights::open(&folder).map_err(EngineError::from)?;
    let encoders = ImageEncoders::load(family, &Device::Cpu)?;
    let (clip_dim, dino_dim) = encoders.widths();
    let cafe = CafeConfig { clip_dim, dino_dim, n_clip_tokens: start.clip_tokens as usize };
    let draws = Noise::new(training.plan.settings.train.seed).of("initial weights");
    let projections = match start.init {
        Initialiser::Orthogonal => Projections::orthogonal(&config, &cafe, 1.0, &draws)?,
        Initialiser::Ridge => fitted(training, &encoders)?,
    };
    let (tensors, unet) = from_base(&weights, &config, cafe, &projections, &draws)?;
    Ok(DiffusionParts { unet, weights: Weights::from_tensors(tensors, weights.file()), noise, vae })
}

/// Fitted on the targets x~ and their captions, once: a training that goes on finds them beside its weights.
fn fitted(training: &Diffusion<'_>, encoders: &ImageEncoders) -> Result<Projections, TrainError> {
    let Diffusion { family, pairs, folder, .. } = *training;
    let n_fitted = pairs.n_rows().min(FITTED_PAIRS);
    // Evenly spread: neighbours are often of one subject.
    let rows: Vec<usize> = (0..n_fitted).map(|index| index * pairs.n_rows() / n_fitted).collect();
    let text_encoder = family.folder(Role::TextToImage).join("text_encoder");
    let models = [family.folder(Role::ClipCondition), family.folder(Role::DinoCondition), text_encoder];
    let fingerprint = fingerprint(&Encoding { pairs, rows: &rows, size_px: None }, &models)?;
    let path = folder.join(FITTED);
    if read_metadata(&path).is_ok_and(|facts| facts.get("fingerprint") == Some(&fingerprint)) {
        let kept = Weights::open_file(&path).map_err(EngineError::from)?;
        let matrix = |name: &str| tensor(kept.tensor(name));
        return Ok(Projections { clip: matrix("clip")?, dino: matrix("dino")? });
    }
    let made = fit(training, encoders, &rows)?;
    let tensors = BTreeMap::from([("clip".to_owned(), made.clip.clone()), ("dino".to_owned(), made.dino.clone())]);
    save(&tensors, &Metadata::from([("fingerprint".to_owned(), fingerprint)]), &path).map_err(EngineError::from)?;
    Ok(made)
}

fn fit(training: &Diffusion<'_>, encoders: &ImageEncoders, rows: &[usize]) -> Result<Projections, TrainError> {
    let Diffusion { family, pairs, watch, .. } = *training;
    let base = family.folder(Role::TextToImage);
    let tokenizer = TextTokenizer::load(&base.join("tokenizer"))?;
    let text_encoder = TextEncoder::load(&base.join("text_encoder"), &Device::Cpu)?;
    let (mut clip, mut dino, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for (n_done, chunk) in rows.chunks(BATCH_ROWS).enumerate() {
        let (mut images, mut captions) = (Vec::new(), Vec::new());
        for row in chunk.iter().copied() {
            for pair in pairs.read(row, 1)? {
                let caption = pair.caption.ok_or_else(|| {
                    let message = format!("row {row} of the pairs has no `caption`, which the regression is fitted on");
                    TrainError::settings(message, "give pairs with captions, or begin with `orthogonal`")
                })?;
                images.extend(pair.target.as_ref().map(on_white));
                captions.push(caption);
            }
        }
        clip.push(encoders.clip(&images)?); // (B, D_clip)
        dino.push(mean_over_tokens(&encoders.dino(&images)?)?); // (B, D_dino)
        for caption in &captions {
            let ids = tokenizer.ids(caption)?;
            let n_ids = ids.len();
            let states = tensor(text_encoder.forward(&tensor(Tensor::from_vec(ids, (1, n_ids), &Device::Cpu))?))?; // (1, T, D)
            // Without the start token, whose state is the same for every text.
            text.push(mean_over_tokens(&tensor(states.narrow(1, 1, n_ids - 1))?)?);
        }
        (watch.told)("fit initial weights", n_done * BATCH_ROWS, rows.len());
    }
    let joined = |parts: &[Tensor]| tensor(Tensor::cat(parts, 0));
    Ok(Projections::fitted(&joined(&clip)?, &joined(&dino)?, &joined(&text)?)?)
}

/// (B, T, D) → (B, D).
fn mean_over_tokens(states: &Tensor) -> Result<Tensor, TrainError> {
    tensor(states.mean(1))
}

fn tensor<E: Into<EngineError>>(made: Result<Tensor, E>) -> Result<Tensor, TrainError> {
    Ok(made.map_err(Into::into)?)
}
