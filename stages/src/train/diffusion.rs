//! The UNet by Eq. 3, on pairs: what the command `train diffusion` and the stage `train` do.

use std::path::{Path, PathBuf};

use cafe_engine::cafe::{Family, ImageEncoders, Role};
use cafe_engine::train::{DiffusionBatch, DiffusionParts, DiffusionSettings, DiffusionTrainer, EncodedRows};
use cafe_engine::vae::AutoencoderKl;
use cafe_engine::weights::Metadata;
use cafe_engine::{Device, EngineError};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encode::{Encoding, Pictures, encode};
use super::error::TrainError;
use super::initial;
use super::run_loop::{Watch, train};
use crate::training_pairs::TrainingPairs;

/// How new keys and values are made, where the UNet is made from the base model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Initialiser {
    /// Random: the base model's, times an orthogonal projection.
    #[default]
    Orthogonal,
    /// Fitted to the captions of the pairs: the base model's, times the projection from what E and F see to its text states.
    Ridge,
}

/// Where a training begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// At the base model's UNet, its new keys and values made anew, even if the family has a `cafe_unet`.
    pub from_base: bool,
    /// How these are made.
    pub init: Initialiser,
    /// Tokens that F(x) becomes there.
    pub clip_tokens: u32,
}

/// All that is set.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffusionPlan {
    /// Steps, rates, and what is trained.
    pub settings: DiffusionSettings,
    /// Where it begins.
    pub start: Start,
    /// Height and width of the images in pixels; `None` for what the UNet was trained for.
    pub size_px: Option<(u32, u32)>,
    /// Steps after which what is needed to go on is saved.
    pub save_every: u32,
}

/// A training.
#[derive(Clone, Copy)]
pub struct Diffusion<'a> {
    /// Whose UNet is trained, and whose other models see the pictures.
    pub family: &'a Family,
    /// What it learns from.
    pub pairs: &'a TrainingPairs,
    /// What is set.
    pub plan: &'a DiffusionPlan,
    /// Where it keeps what it needs to go on.
    pub folder: &'a Path,
    /// Who stops it, and who is told.
    pub watch: Watch<'a>,
}

impl Diffusion<'_> {
    /// What is trained, and height and width of the images in pixels.
    ///
    /// # Errors
    /// When the family lacks a model, or the sizes do not fit.
    pub fn begin(&self) -> Result<(DiffusionParts, (u32, u32)), TrainError> {
        let parts = initial::parts(self)?;
        let size_px = size_px(self.plan.size_px, &parts)?;
        Ok((parts, size_px))
    }

    /// Trains what [`begin`](Self::begin) gave; the folder `cafe_unet` that was made, or `None` when a stop was asked for. The same
    /// call goes on.
    ///
    /// # Errors
    /// When a picture or a model cannot be read, the loss is not a number, or nothing can be written.
    pub fn run(
        &self,
        parts: DiffusionParts,
        size_px: (u32, u32),
        facts: &Metadata,
    ) -> Result<Option<PathBuf>, TrainError> {
        let rows: Vec<usize> = (0..self.pairs.n_rows()).collect();
        let encoding = Encoding { pairs: self.pairs, rows: &rows, size_px: Some(size_px) };
        let encoded = self.folder.join("encoded");
        let load = || Encoders::load(self.family, size_px);
        let Some(encoded) = encode(&encoding, &Encoders::folders(self.family), &encoded, self.watch, load)? else {
            return Ok(None);
        };
        let mut trainer = DiffusionTrainer::new(parts, self.plan.settings.clone(), &Device::Cpu)?;
        if !train(&mut trainer, &encoded, (self.folder, self.plan.save_every), self.watch)? {
            return Ok(None);
        }
        let made = self.folder.join(Role::CafeUNet.folder());
        trainer.export(&made, facts)?;
        Ok(Some(made))
    }
}

/// What sees the pictures.
struct Encoders {
    encoders: ImageEncoders,
    vae: AutoencoderKl,
    size_px: (u32, u32),
}

impl Encoders {
    fn folders(family: &Family) -> Vec<PathBuf> {
        let vae = family.folder(Role::TextToImage).join("vae");
        vec![family.folder(Role::ClipCondition), family.folder(Role::DinoCondition), vae]
    }

    fn load(family: &Family, size_px: (u32, u32)) -> Result<Self, EngineError> {
        let encoders = ImageEncoders::load(family, &Device::Cpu)?;
        let vae = family.folder(Role::TextToImage).join("vae");
        Ok(Self { encoders, vae: AutoencoderKl::load(&vae, cafe_engine::DType::F32, &Device::Cpu)?, size_px })
    }
}

impl Pictures for Encoders {
    fn encode(&self, references: &[RgbImage], targets: &[RgbImage]) -> Result<EncodedRows, EngineError> {
        DiffusionBatch::encode(&self.encoders, &self.vae, (references, targets), self.size_px, &Device::Cpu)
    }
}

/// Height and width of the images.
fn size_px(wanted: Option<(u32, u32)>, parts: &DiffusionParts) -> Result<(u32, u32), TrainError> {
    let factor = u32::try_from(parts.vae.factor()).unwrap_or(u32::MAX);
    let trained = parts.unet.sample_size.and_then(|size| u32::try_from(size).ok()?.checked_mul(factor));
    let (height, width) = wanted.or(trained.map(|side| (side, side))).ok_or_else(|| {
        TrainError::settings("the UNet's config has no sample_size", "give the images' height and width as `size`")
    })?;
    let multiple = factor.saturating_mul(u32::try_from(parts.unet.latent_multiple()).unwrap_or(u32::MAX));
    if height % multiple != 0 || width % multiple != 0 {
        let message = format!("images of {height}x{width} px: this model takes multiples of {multiple}");
        return Err(TrainError::settings(message, "give another `size`"));
    }
    Ok((height, width))
}
