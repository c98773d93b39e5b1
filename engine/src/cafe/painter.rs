//! From guided noise to pixels: what CAFE and the base model share.

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::sample::{Guided, OnStep, SamplerSettings, Start, denoise, drawn};
use crate::error::{EngineError, Result};
use crate::noise::{Noise, SamplerConfig};
use crate::picture::pixels;
use crate::unet::UNetConfig;
use crate::vae::AutoencoderKl;

/// Pictures to start from in place of noise: each is noised, and denoised again under new conditions (SDEdit, arXiv
/// 2108.01073).
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// One for each image that is made; resized and cropped to its size.
    pub images: &'a [RgbImage],
    /// 0 to 1: the share of the steps that is taken, and so how much is made anew. 0 is the picture as the VAE shows it,
    /// and 1 sampling as if there were none.
    pub strength: f64,
    /// One for each image, resized and cropped as it is: white where it is made anew, black where it stays.
    pub masks: Option<&'a [RgbImage]>,
}

/// VAE and sampler of a base model.
pub(super) struct Painter<'a> {
    pub(super) vae: &'a AutoencoderKl,
    pub(super) config: &'a SamplerConfig,
    pub(super) device: &'a Device,
}

impl Painter<'_> {
    /// An image for each of `rows`, which are the seeds of their noise.
    pub(super) fn paint(
        &self,
        guided: &Guided<'_>,
        settings: &SamplerSettings,
        rows: &[Noise],
        source: Option<&Source<'_>>,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        let latents = self.latents(guided, settings, rows, source, on_step)?;
        pixels::to_images(&self.vae.decode(&self.vae.config().unscale_latents(&latents)?)?)
    }

    /// (B, C, H, W), scaled.
    pub(super) fn latents(
        &self,
        guided: &Guided<'_>,
        settings: &SamplerSettings,
        rows: &[Noise],
        source: Option<&Source<'_>>,
        on_step: OnStep<'_>,
    ) -> Result<Tensor> {
        let config = guided.unet().config();
        let size = self.latent_size(config, settings)?;
        let sampler = self.config.sampler(settings.sampler, settings.n_steps, settings.eta)?;
        let noise = drawn(rows, "latents", &[config.in_channels, size[0], size[1]], self.device)?;
        let start = match source {
            None => Start::noise(noise),
            Some(source) => {
                let (latents, mask) = self.encode(source, rows.len(), size)?;
                if latents.dims() != noise.dims() {
                    return Err(EngineError::argument(format!(
                        "latents of shape {:?} for a UNet that takes {:?}: VAE and UNet are not of one model",
                        latents.dims(),
                        noise.dims()
                    )));
                }
                Start::source(&sampler, &latents, noise, source.strength, mask)?
            }
        };
        denoise(|latents, timestep| guided.predict(latents, timestep), &sampler, start, rows, on_step)
    }

    /// Latents (B, C, H, W) and mask (B, 1, H, W) of `source`.
    fn encode(
        &self,
        source: &Source<'_>,
        n_rows: usize,
        [height, width]: [usize; 2],
    ) -> Result<(Tensor, Option<Tensor>)> {
        let n_images = source.images.len();
        if n_images != n_rows {
            return Err(EngineError::argument(format!("{n_images} pictures to start from, for {n_rows} images")));
        }
        let factor = self.vae.config().factor();
        let side = |side: usize| {
            u32::try_from(side * factor).map_err(|error| EngineError::argument(format!("{side} latents: {error}")))
        };
        let size_px = (side(height)?, side(width)?);
        // The most likely latents, not drawn ones: without noise, the picture stays.
        let encoded = self.vae.encode(&pixels::from_images(source.images, size_px, self.device)?)?;
        let latents = self.vae.config().scale_latents(encoded.mode())?;
        let Some(masks) = source.masks else { return Ok((latents, None)) };
        if masks.len() != n_rows {
            return Err(EngineError::argument(format!("{} masks for {n_rows} images", masks.len())));
        }
        let white = pixels::from_images(masks, size_px, self.device)?.affine(0.5, 0.5)?.clamp(0.0, 1.0)?; // (B, 3, H·f, W·f)
        // What a latent stands for may be white in part: it is made anew in part.
        Ok((latents, Some(white.mean_keepdim(1)?.avg_pool2d(factor)?)))
    }

    /// Height and width of the latents.
    fn latent_size(&self, config: &UNetConfig, settings: &SamplerSettings) -> Result<[usize; 2]> {
        let factor = self.vae.config().factor();
        let default = config.sample_size.map(|size| (size * factor, size * factor));
        let Some((height, width)) = settings.size_px.or(default) else {
            return Err(EngineError::argument("the UNet's config has no sample_size: say the size of the image"));
        };
        let multiple = factor * config.latent_multiple();
        if height == 0 || width == 0 || height % multiple != 0 || width % multiple != 0 {
            return Err(EngineError::argument(format!(
                "an image of {height}×{width} px: this model makes multiples of {multiple}"
            )));
        }
        Ok([height / factor, width / factor])
    }
}

#[cfg(test)]
#[path = "painter_tests.rs"]
mod tests;
