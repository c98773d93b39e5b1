//! The base model: text to image, which makes w where there is no index to take it from.

use candle_core::{DType, Device};
use image::RgbImage;

use super::Painter;
use super::family::{Family, Role};
use super::sample::{Guided, OnStep, SamplerSettings};
use crate::encoder::text::TextEncoder;
use crate::encoder::tokenizer::TextTokenizer;
use crate::error::{EngineError, Result};
use crate::noise::{Noise, NoiseConfig};
use crate::unet::UNet;
use crate::vae::AutoencoderKl;

/// Stable Diffusion in the layout of diffusers: `text_encoder`, `tokenizer`, `unet`, `vae`, `scheduler`.
pub struct TextToImage {
    tokenizer: TextTokenizer,
    text_encoder: TextEncoder,
    unet: UNet,
    vae: AutoencoderKl,
    noise_scheduler: NoiseConfig,
    device: Device,
}

impl TextToImage {
    /// Loads `text_to_image` of `family`.
    ///
    /// # Errors
    /// When a part is missing, or does not fit its config.
    pub fn load(family: &Family, device: &Device) -> Result<Self> {
        let folder = family.folder(Role::TextToImage);
        Ok(Self {
            tokenizer: TextTokenizer::load(&folder.join("tokenizer"))?,
            text_encoder: TextEncoder::load(&folder.join("text_encoder"), device)?,
            unet: UNet::load(&folder.join("unet"), device)?,
            vae: AutoencoderKl::load(&folder.join("vae"), DType::F32, device)?,
            noise_scheduler: NoiseConfig::read(&folder.join("scheduler").join("scheduler_config.json"))?,
            device: device.clone(),
        })
    }

    /// An image for each prompt, from the noise of its own seed: the same whatever the batch.
    ///
    /// `text_scale` weighs the text against the empty one.
    ///
    /// # Errors
    /// When there are not as many seeds as prompts, the size does not suit the UNet, or of the tensors.
    pub fn generate(
        &self,
        prompts: &[String],
        seeds: &[u64],
        text_scale: f64,
        settings: &SamplerSettings,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        if seeds.len() != prompts.len() || prompts.is_empty() {
            return Err(EngineError::argument(format!("{} seeds for {} prompts", seeds.len(), prompts.len())));
        }
        let encode = |texts: &[String]| -> Result<_> {
            Ok(self.text_encoder.forward(&self.tokenizer.encode(texts, &self.device)?)?)
        };
        let states = encode(prompts)?; // (B, T, D)
        let empty = encode(&vec![String::new(); prompts.len()])?;
        let guided = Guided::text(&self.unet, &states, &empty, text_scale)?;
        let rows: Vec<Noise> = seeds.iter().map(|seed| Noise::new(*seed)).collect();
        let painter = Painter { vae: &self.vae, noise_scheduler: &self.noise_scheduler, device: &self.device };
        painter.paint(&guided, settings, &rows, on_step)
    }
}
