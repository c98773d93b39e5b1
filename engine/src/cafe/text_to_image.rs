//! The base model: text to image, which makes w where there is no index to take it from.

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use super::family::{Family, Role};
use super::painter::{Painter, Source};
use super::sample::{Guided, OnStep, SamplerSettings};
use crate::encoder::text::TextEncoder;
use crate::encoder::tokenizer::TextTokenizer;
use crate::error::{EngineError, Result};
use crate::noise::{Noise, SamplerConfig};
use crate::unet::UNet;
use crate::vae::AutoencoderKl;

/// Stable Diffusion in the layout of diffusers: `text_encoder`, `tokenizer`, `unet`, `vae`, `scheduler`.
pub struct TextToImage {
    tokenizer: TextTokenizer,
    text_encoder: TextEncoder,
    unet: UNet,
    vae: AutoencoderKl,
    sampler: SamplerConfig,
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
            sampler: SamplerConfig::read(&folder.join("scheduler").join("scheduler_config.json"))?,
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
        self.paint(prompts, seeds, text_scale, settings, None, on_step)
    }

    /// [`Self::generate`] that starts from a picture in place of noise.
    ///
    /// # Errors
    /// When there are not as many pictures and masks as prompts, the strength is not 0 to 1, or as of [`Self::generate`].
    pub fn edit(
        &self,
        source: &Source<'_>,
        prompts: &[String],
        seeds: &[u64],
        text_scale: f64,
        settings: &SamplerSettings,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        self.paint(prompts, seeds, text_scale, settings, Some(source), on_step)
    }

    fn paint(
        &self,
        prompts: &[String],
        seeds: &[u64],
        text_scale: f64,
        settings: &SamplerSettings,
        source: Option<&Source<'_>>,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        if seeds.len() != prompts.len() || prompts.is_empty() {
            return Err(EngineError::argument(format!("{} seeds for {} prompts", seeds.len(), prompts.len())));
        }
        let states = self.states(prompts)?; // (B, T, D)
        let empty = self.states(&vec![""; prompts.len()])?;
        let guided = Guided::text(&self.unet, &states, &empty, text_scale, settings.guidance_rescale)?;
        let rows: Vec<Noise> = seeds.iter().map(|seed| Noise::new(*seed)).collect();
        let painter = Painter { vae: &self.vae, config: &self.sampler, device: &self.device };
        painter.paint(&guided, settings, &rows, source, on_step)
    }

    /// Latents and pixels of `prompt`, from `latents` (1, C, H, W) given: what the reference is compared with.
    #[cfg(test)]
    pub(super) fn trace(
        &self,
        prompt: &str,
        text_scale: f64,
        n_steps: u32,
        latents: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (states, empty) = (self.states(&[prompt])?, self.states(&[""])?);
        let guided = Guided::text(&self.unet, &states, &empty, text_scale, 0.0)?;
        let (sampler, start) =
            (self.sampler.sampler(None, n_steps, 0.0)?, super::sample::Start::noise(latents.clone()));
        let predict = |latents: &Tensor, timestep| guided.predict(latents, timestep);
        let latents = super::sample::denoise(predict, &sampler, start, &[], &|_, _| {})?;
        let pixels = self.vae.decode(&self.vae.config().unscale_latents(&latents)?)?;
        Ok((latents, pixels))
    }

    /// States of the text encoder, (B, T, D).
    fn states(&self, texts: &[impl AsRef<str>]) -> Result<Tensor> {
        Ok(self.text_encoder.forward(&self.tokenizer.encode(texts, &self.device)?)?)
    }
}
