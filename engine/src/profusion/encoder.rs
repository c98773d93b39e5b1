//! What the models of ProFusion see of pictures: latents and vision tokens.

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use super::base::ProFusionFolders;
use super::config::PromptNetConfig;
use super::fusion::Reference;
use crate::encoder::clip::ClipImage;
use crate::error::{EngineError, Result};
use crate::picture::{ImageProcessor, pixels};
use crate::train::EncodedRows;
use crate::vae::AutoencoderKl;

/// The VAE, and the CLIP whose tokens PromptNet attends to; for pictures of the one size that PromptNet was made for.
pub struct SubjectEncoder {
    pub(super) vae: AutoencoderKl,
    image_encoder: ClipImage,
    pub(super) processor: ImageProcessor,
    size_px: (u32, u32),
    device: Device,
}

impl SubjectEncoder {
    /// Loads both for a PromptNet of `config`.
    ///
    /// # Errors
    /// When one is missing, does not fit its config, or does not fit the PromptNet.
    pub fn load(folders: &ProFusionFolders, config: &PromptNetConfig, device: &Device) -> Result<Self> {
        let vae = AutoencoderKl::load(&folders.base.join("vae"), DType::F32, device)?;
        let image_encoder = ClipImage::load(&folders.image_encoder, device)?;
        folders.must_be(&[
            ("vision_dim", config.vision_dim(), "the image encoder makes", image_encoder.config().hidden_size),
            ("in_channels", config.unet.in_channels, "the VAE makes", vae.config().latent_channels),
        ])?;
        let px = |side: usize| {
            u32::try_from(side).map_err(|error| EngineError::argument(format!("images of {side} px: {error}")))
        };
        let processor = ImageProcessor::clip(px(image_encoder.image_size())?);
        let side_px = px(config.latent_size().saturating_mul(vae.config().factor()))?;
        Ok(Self {
            processor: ImageProcessor::load(&folders.image_encoder, processor)?,
            size_px: (side_px, side_px),
            vae,
            image_encoder,
            device: device.clone(),
        })
    }

    /// Height and width of pictures.
    #[must_use]
    pub fn size_px(&self) -> (u32, u32) {
        self.size_px
    }

    /// Latents (mode, scaled) and vision tokens of a picture that counts with `scale` (s1_k; for the subject's own picture,
    /// [`FusionSettings::subject_scale`](super::FusionSettings::subject_scale) counts in its place).
    ///
    /// # Errors
    /// When the picture is empty, or of the tensors.
    pub fn reference(&self, image: &RgbImage, scale: f64) -> Result<Reference> {
        let images = std::slice::from_ref(image);
        let latents = self.vae.encode(&pixels::from_images(images, self.size_px, &self.device)?)?;
        Ok(Reference { latents: self.vae.config().scale_latents(latents.mode())?, vision: self.vision(images)?, scale })
    }

    /// What PromptNet is trained on: the columns `latent_mean` and `latent_log_variance` (not scaled), and `vision`.
    ///
    /// # Errors
    /// When a picture is empty, or of the tensors.
    pub fn encode(&self, images: &[RgbImage]) -> Result<EncodedRows> {
        let latents = self.vae.encode(&pixels::from_images(images, self.size_px, &self.device)?)?;
        Ok(EncodedRows::new([
            ("latent_mean", latents.mean),
            ("latent_log_variance", latents.log_variance),
            ("vision", self.vision(images)?),
        ]))
    }

    /// Vision tokens, (B, N, D_vision).
    fn vision(&self, images: &[RgbImage]) -> Result<Tensor> {
        let pixels = self.processor.process_batch(images, &self.device)?;
        Ok(self.image_encoder.last_hidden_state(&pixels)?)
    }

    /// Pictures of latents (B, C, s, s), scaled.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn decode(&self, latents: &Tensor) -> Result<Vec<RgbImage>> {
        pixels::to_images(&self.vae.decode(&self.vae.config().unscale_latents(latents)?)?)
    }

    /// `image`, of the size that PromptNet takes.
    ///
    /// # Errors
    /// When it is empty, or of the tensors.
    pub(super) fn sized(&self, image: &RgbImage) -> Result<RgbImage> {
        let mut images = pixels::to_images(&pixels::from_image(image, self.size_px, &self.device)?)?;
        images.pop().ok_or_else(|| EngineError::argument("a batch of no pictures"))
    }
}
