//! Words and pictures in one space: the CLIP that conditions CAFE, for choosing among pictures before they are candidates. What filters and
//! judges are other models, which must not have chosen what they are shown.

use cafe_engine::cafe::{Family, Role};
use cafe_engine::encoder::clip::{ClipImage, ClipText};
use cafe_engine::encoder::normalized;
use cafe_engine::encoder::tokenizer::TextTokenizer;
use cafe_engine::picture::ImageProcessor;
use cafe_engine::{Device, EngineError, Tensor};
use image::RgbImage;

/// Both towers of a family's `clip_condition`.
pub(crate) struct Clip {
    image: ClipImage,
    text: ClipText,
    tokenizer: TextTokenizer,
    processor: ImageProcessor,
}

impl Clip {
    /// Loads it.
    pub(crate) fn load(family: &Family) -> Result<Self, EngineError> {
        let folder = family.folder(Role::ClipCondition);
        let image = ClipImage::load(&folder, &Device::Cpu)?;
        let side = u32::try_from(image.image_size()).unwrap_or(u32::MAX);
        Ok(Self {
            text: ClipText::load(&folder, &Device::Cpu)?,
            tokenizer: TextTokenizer::load(&folder)?,
            processor: ImageProcessor::load(&folder, ImageProcessor::clip(side))?,
            image,
        })
    }

    /// Of each picture a vector of length 1: (B, D).
    pub(crate) fn images(&self, images: &[RgbImage]) -> Result<Tensor, EngineError> {
        Ok(normalized(&self.image.forward(&self.processor.process_batch(images, &Device::Cpu)?)?)?)
    }

    /// Of each text a vector of length 1: (T, D).
    pub(crate) fn texts(&self, texts: &[impl AsRef<str>]) -> Result<Tensor, EngineError> {
        Ok(normalized(&self.text.forward(&self.tokenizer.encode(texts, &Device::Cpu)?)?)?)
    }

    /// The cosine of each picture and each text: B rows of T.
    pub(crate) fn cosines(&self, images: &[RgbImage], texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok(self.images(images)?.matmul(&self.texts(texts)?.t()?)?.to_vec2()?)
    }
}
