//! The composition: G(E(x), αF(w) + (1−α)F(x)) (Eq. 4), G(E(x), F(w)), and text-to-image by the base model.

mod encoders;
mod family;
mod painter;
mod sample;
mod text_to_image;

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use self::painter::Painter;
use self::sample::Guided;
use crate::error::{EngineError, Result};
use crate::noise::{Guidance, Noise, SamplerConfig};
use crate::picture::pixels;
use crate::unet::{CafeConditioning, UNet};
use crate::vae::{AutoencoderKl, LatentDistribution};

pub use self::encoders::ImageEncoders;
pub use self::family::{Family, Role};
pub use self::painter::Source;
pub use self::sample::{OnStep, SamplerSettings};
pub use self::text_to_image::TextToImage;

/// Eq. 4's condition, α·F(w) + (1−α)·F(x), of raw embeddings (B, D_clip); `alpha` is in [0, 1].
///
/// # Errors
/// When α is out of range, or shapes differ.
pub fn mix(clip_w: &Tensor, clip_x: &Tensor, alpha: f64) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&alpha) {
        return Err(EngineError::argument(format!("alpha is {alpha}: it must be between 0 and 1")));
    }
    Ok(((clip_w * alpha)? + (clip_x * (1.0 - alpha))?)?)
}

/// The CAFE model without its language half: images in, images out.
pub struct CafeEngine {
    encoders: ImageEncoders,
    unet: UNet,
    vae: AutoencoderKl,
    sampler: SamplerConfig,
    device: Device,
}

impl CafeEngine {
    /// Loads encoders, `cafe_unet`, and the base model's VAE and noise scheduler of `family`.
    ///
    /// # Errors
    /// When one is missing, does not fit its config, or the UNet's conditions are not what the encoders make.
    pub fn load(family: &Family, device: &Device) -> Result<Self> {
        let encoders = ImageEncoders::load(family, device)?;
        let unet = UNet::load(&family.folder(Role::CafeUNet), device)?;
        family.check_conditions(unet.config(), encoders.widths())?;
        let base = family.folder(Role::TextToImage);
        Ok(Self {
            encoders,
            unet,
            vae: AutoencoderKl::load(&base.join("vae"), DType::F32, device)?,
            sampler: SamplerConfig::read(&base.join("scheduler").join("scheduler_config.json"))?,
            device: device.clone(),
        })
    }

    /// E and F.
    #[must_use]
    pub fn encoders(&self) -> &ImageEncoders {
        &self.encoders
    }

    /// E(x) and F(w) mixed with F(x) (Eq. 4), of one reference and one w each. With α = 1 that is G(E(x), F(w)).
    ///
    /// # Errors
    /// When α is out of range, there are not as many `donors` as `references`, or of the tensors.
    pub fn conditions(&self, references: &[RgbImage], donors: &[RgbImage], alpha: f64) -> Result<CafeConditioning> {
        if references.len() != donors.len() || references.is_empty() {
            let (n_references, n_donors) = (references.len(), donors.len());
            return Err(EngineError::argument(format!(
                "{n_references} references and {n_donors} images w: pairs are wanted"
            )));
        }
        let clip = mix(&self.encoders.clip(donors)?, &self.encoders.clip(references)?, alpha)?;
        Ok(CafeConditioning { clip, dino: self.encoders.dino(references)? })
    }

    /// G: an image for each row of `conditions`, from the noise of its own seed: the same whatever the batch.
    ///
    /// # Errors
    /// When there are not as many seeds as rows, the size does not suit the UNet, or of the tensors.
    pub fn generate(
        &self,
        conditions: &CafeConditioning,
        seeds: &[u64],
        guidance: &Guidance,
        settings: &SamplerSettings,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        self.paint(conditions, seeds, guidance, settings, None, on_step)
    }

    /// [`Self::generate`] that starts from a picture in place of noise: what is made is like it in outline and colour.
    ///
    /// # Errors
    /// When there are not as many pictures and masks as rows, the strength is not 0 to 1, or as of [`Self::generate`].
    pub fn edit(
        &self,
        source: &Source<'_>,
        conditions: &CafeConditioning,
        seeds: &[u64],
        guidance: &Guidance,
        settings: &SamplerSettings,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        self.paint(conditions, seeds, guidance, settings, Some(source), on_step)
    }

    fn paint(
        &self,
        conditions: &CafeConditioning,
        seeds: &[u64],
        guidance: &Guidance,
        settings: &SamplerSettings,
        source: Option<&Source<'_>>,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        let n_rows = conditions.clip.dim(0)?;
        if seeds.len() != n_rows {
            return Err(EngineError::argument(format!("{} seeds for {n_rows} images", seeds.len())));
        }
        let guided = Guided::cafe(&self.unet, conditions, guidance, settings.guidance_rescale)?;
        let rows: Vec<Noise> = seeds.iter().map(|seed| Noise::new(*seed)).collect();
        self.painter().paint(&guided, settings, &rows, source, on_step)
    }

    fn painter(&self) -> Painter<'_> {
        Painter { vae: &self.vae, config: &self.sampler, device: &self.device }
    }

    /// VAE latents of `images` (B, C, H, W), resized and cropped to `size_px` (height, width).
    ///
    /// # Errors
    /// Of the tensors.
    pub fn encode_latents(&self, images: &[RgbImage], size_px: (u32, u32)) -> Result<LatentDistribution> {
        self.vae.encode(&pixels::from_images(images, size_px, &self.device)?)
    }
}

#[cfg(test)]
mod tests;
