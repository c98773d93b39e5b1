//! CLIP and DINO.

use std::path::Path;

use candle_core::Tensor;
use serde::Deserialize;

use super::{Check, check, picture, sound};
use crate::Device;
use crate::config::unsupported;
use crate::encoder::clip::{ClipImage, ClipText, ClipTextConfig};
use crate::encoder::dino::Dino;
use crate::encoder::dinov2::Dinov2;
use crate::encoder::tokenizer::TextTokenizer;
use crate::error::{EngineError, Result};
use crate::picture::ImageProcessor;

pub(super) fn clip(folder: &Path, has_text: bool) -> Vec<Check> {
    let mut checks = vec![check("image", || {
        let model = ClipImage::load(folder, &Device::Cpu)?;
        let pixels = pixels(folder, ImageProcessor::clip(side(model.image_size())?))?;
        sound(&model.forward(&pixels)?)
    })];
    if has_text {
        checks.push(check("text", || {
            let model = ClipText::load(folder, &Device::Cpu)?;
            sound(&model.forward(&ids(folder, model.config())?)?)
        }));
    }
    checks
}

pub(super) fn dino(folder: &Path) -> Vec<Check> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    let path = folder.join("config.json");
    match crate::config::read::<Kind>(&path).map(|kind| kind.model_type) {
        Ok(kind) if kind == "vit" => vec![check("image", || {
            let model = Dino::load(folder, &Device::Cpu)?;
            let pixels = pixels(folder, ImageProcessor::dino(side(model.image_size())?))?;
            sound(&model.forward(&pixels)?)
        })],
        Ok(kind) if kind == "dinov2" => dinov2(folder),
        Ok(kind) => vec![check("image", || {
            Err(unsupported(&path, "model_type", format!("\"{kind}\""), "\"vit\" or \"dinov2\""))
        })],
        Err(error) => vec![check("image", || Err(error))],
    }
}

pub(super) fn dinov2(folder: &Path) -> Vec<Check> {
    vec![check("image", || {
        let model = Dinov2::load(folder, &Device::Cpu)?;
        let pixels = pixels(folder, ImageProcessor::dino(side(model.image_size())?.min(224)))?;
        sound(&model.forward(&pixels)?)
    })]
}

/// The picture as the model in `folder` wants it: (1, 3, H, W).
pub(super) fn pixels(folder: &Path, default: ImageProcessor) -> Result<Tensor> {
    ImageProcessor::load(folder, default)?.process_batch(&[picture()], &Device::Cpu)
}

pub(super) fn side(side: usize) -> Result<u32> {
    u32::try_from(side).map_err(|error| EngineError::argument(format!("images of {side} px: {error}")))
}

/// A text, by the tokenizer where there is one; else some tokens and the one that ends a text: (1, T).
fn ids(folder: &Path, config: &ClipTextConfig) -> Result<Tensor> {
    if folder.join("vocab.json").is_file() {
        return TextTokenizer::load(folder)?.encode(&["a photo of a dog"], &Device::Cpu);
    }
    let last = u32::try_from(config.vocab_size.saturating_sub(1)).unwrap_or(u32::MAX);
    // 2 is what old configs say of the largest id.
    let end = if config.eos_token_id == 2 { last } else { config.eos_token_id };
    Ok(Tensor::new(&[[0u32, 1, end]], &Device::Cpu)?)
}
