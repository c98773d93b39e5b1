//! Whether models can be used: each is loaded, so that config and tensors are compared, and runs forward once. What comes
//! out must be finite, and not all the same.
//!
//! What it is given is small and fixed. That a model is *good* is nothing that could be seen here.

mod diffusion;
mod encoders;
mod language;

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use image::{Rgb, RgbImage};

use crate::Device;
use crate::cafe::{Family, ImageEncoders, Role};
use crate::error::{EngineError, Result};
use crate::noise::Noise;

/// What kind of model a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// CLIP, of which pictures and texts are compared: both towers.
    Clip,
    /// CLIP as a condition, F: its image tower.
    ClipImage,
    /// DINO or DINOv2, as its config says.
    Dino,
    /// DINOv2 as a condition, E.
    Dinov2,
    /// A base model: text encoder, UNet and VAE.
    TextToImage,
    /// G.
    CafeUNet,
    /// PromptNet and its image encoder.
    PromptNet,
    /// V, H and the learnable token; the language model in `base`, if it is there.
    Mllm,
    /// A language model.
    Language,
}

/// The folders that a family may have, and what is in them.
pub const FAMILY: [(&str, ModelKind); 10] = [
    ("clip_filter", ModelKind::Clip),
    ("dino_filter", ModelKind::Dino),
    ("clip_condition", ModelKind::ClipImage),
    ("dino_condition", ModelKind::Dinov2),
    ("clip_judge", ModelKind::Clip),
    ("dino_judge", ModelKind::Dino),
    ("text_to_image", ModelKind::TextToImage),
    ("promptnet", ModelKind::PromptNet),
    ("cafe_unet", ModelKind::CafeUNet),
    ("mllm", ModelKind::Mllm),
];

/// What was tried of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was tried: "image", "decode".
    pub what: &'static str,
    /// What came out, in words; or why nothing did.
    pub outcome: std::result::Result<String, String>,
}

/// Where a family's other models are, which a part of it must fit. All of them may be missing.
struct Relatives {
    family: Option<Family>,
}

impl Relatives {
    /// The folder of `role`, if there is one.
    fn folder(&self, role: Role) -> Option<PathBuf> {
        self.family.as_ref().map(|family| family.folder(role)).filter(|folder| folder.is_dir())
    }

    /// E and F, if the family has both.
    fn encoders(&self) -> Result<Option<ImageEncoders>> {
        match (&self.family, self.folder(Role::ClipCondition), self.folder(Role::DinoCondition)) {
            (Some(family), Some(_), Some(_)) => Ok(Some(ImageEncoders::load(family, &Device::Cpu)?)),
            _ => Ok(None),
        }
    }
}

/// Loads the model in `folder`, and runs it forward.
#[must_use]
pub fn verify_model(kind: ModelKind, folder: &Path) -> Vec<Check> {
    verify(kind, folder, &Relatives { family: None })
}

/// The same of the model that the family in `folder` has as `name`, one of [`FAMILY`]; and whether it fits the others.
///
/// # Errors
/// When there is no such family.
pub fn verify_in_family(folder: &Path, name: &str, kind: ModelKind) -> Result<Vec<Check>> {
    Ok(verify(kind, &folder.join(name), &Relatives { family: Some(Family::open(folder)?) }))
}

fn verify(kind: ModelKind, folder: &Path, relatives: &Relatives) -> Vec<Check> {
    match kind {
        ModelKind::Clip => encoders::clip(folder, true),
        ModelKind::ClipImage => encoders::clip(folder, false),
        ModelKind::Dino => encoders::dino(folder),
        ModelKind::Dinov2 => encoders::dinov2(folder),
        ModelKind::TextToImage => diffusion::text_to_image(folder),
        ModelKind::CafeUNet => diffusion::cafe_unet(folder, relatives),
        ModelKind::PromptNet => diffusion::promptnet(folder, relatives),
        ModelKind::Mllm => language::mllm(folder, relatives),
        ModelKind::Language => language::language(folder),
    }
}

fn check(what: &'static str, run: impl FnOnce() -> Result<String>) -> Check {
    Check { what, outcome: run().map_err(|error| error.to_string()) }
}

/// The shape and the range of `tensor`, in words.
fn sound(tensor: &Tensor) -> Result<String> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let n_wrong = values.iter().filter(|value| !value.is_finite()).count();
    if n_wrong > 0 || values.is_empty() {
        let message = format!("{n_wrong} of {} numbers that came out are not finite", values.len());
        return Err(EngineError::argument(message));
    }
    let (least, most) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), value| (least.min(*value), most.max(*value)));
    if least == most && values.len() > 1 {
        return Err(EngineError::argument(format!("all {} numbers that came out are {least}", values.len())));
    }
    Ok(format!("{:?} in {least:.3} to {most:.3}", tensor.dims()))
}

/// A picture with colours, edges and slopes.
fn picture() -> RgbImage {
    RgbImage::from_fn(96, 80, |x, y| {
        let inside = (x.abs_diff(48)).pow(2) + (y.abs_diff(40)).pow(2) < 600;
        if inside { Rgb([220, 90, (x * 2) as u8]) } else { Rgb([(y * 3) as u8, 200, 120]) }
    })
}

/// Where all noise of a verification comes from.
fn noise(purpose: &str) -> Noise {
    Noise::new(0).of("verify").of(purpose)
}

/// F(x), (1, D_clip), and E(x), (1, 1 + N, D_dino), where the family has both; else noise of `n_tokens` tokens.
fn conditions_of(
    encoders: Option<&ImageEncoders>,
    n_tokens: usize,
    (clip_dim, dino_dim): (usize, usize),
) -> Result<(Tensor, Tensor)> {
    if let Some(encoders) = encoders {
        let picture = [picture()];
        return Ok((encoders.clip(&picture)?, encoders.dino(&picture)?));
    }
    let clip = noise("clip").normal((1, clip_dim), &Device::Cpu)?;
    Ok((clip, noise("dino").normal((1, n_tokens, dino_dim), &Device::Cpu)?))
}

#[cfg(test)]
mod tests;
