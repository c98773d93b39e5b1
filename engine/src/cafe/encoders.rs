//! What CAFE sees of images: E and F, with what they want of pixels.

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::family::{Family, Role};
use crate::encoder::clip::ClipImage;
use crate::encoder::dinov2::Dinov2;
use crate::error::{EngineError, Result};
use crate::picture::ImageProcessor;

/// E and F of a family.
pub struct ImageEncoders {
    clip: ClipImage,
    clip_processor: ImageProcessor,
    dino: Dinov2,
    dino_processor: ImageProcessor,
    device: Device,
}

impl ImageEncoders {
    /// Loads `clip_condition` and `dino_condition` of `family`. Without a `preprocessor_config.json`, pixels are made as
    /// the models were trained: see [`ImageProcessor`].
    ///
    /// # Errors
    /// When one is missing, or its weights do not fit its config.
    pub fn load(family: &Family, device: &Device) -> Result<Self> {
        let (clip_folder, dino_folder) = (family.folder(Role::ClipCondition), family.folder(Role::DinoCondition));
        let (clip, dino) = (ClipImage::load(&clip_folder, device)?, Dinov2::load(&dino_folder, device)?);
        let clip_processor = ImageProcessor::load(&clip_folder, ImageProcessor::clip(side(clip.image_size())?))?;
        // DINOv2 was trained at 518 px and is used at 224; a model that was trained at less takes what it was trained at.
        let dino_processor =
            ImageProcessor::load(&dino_folder, ImageProcessor::dino(side(dino.image_size())?.min(224)))?;
        Ok(Self { clip, clip_processor, dino, dino_processor, device: device.clone() })
    }

    /// F of each image, not normalised: (B, D_clip).
    ///
    /// # Errors
    /// Of the tensors.
    pub fn clip(&self, images: &[RgbImage]) -> Result<Tensor> {
        Ok(self.clip.forward(&self.clip_processor.process_batch(images, &self.device)?)?)
    }

    /// E of each image, class token and patches: (B, 1 + N, D_dino).
    ///
    /// # Errors
    /// Of the tensors.
    pub fn dino(&self, images: &[RgbImage]) -> Result<Tensor> {
        Ok(self.dino.forward(&self.dino_processor.process_batch(images, &self.device)?)?)
    }

    /// D_clip and D_dino.
    #[must_use]
    pub fn widths(&self) -> (usize, usize) {
        (self.clip.config().projection_dim, self.dino.config().hidden_size)
    }
}

fn side(side: usize) -> Result<u32> {
    u32::try_from(side).map_err(|error| EngineError::argument(format!("images of {side} px: {error}")))
}
