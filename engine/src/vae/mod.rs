//! The VAE between pixels and the latents that are diffused: diffusers' `AutoencoderKL`.
//!
//! [`AutoencoderKl::encode`] and [`AutoencoderKl::decode`] take and give latents as the network has them. Diffusion
//! works on latents of deviation one: [`VaeConfig::scale_latents`] and [`VaeConfig::unscale_latents`] lead
//! there and back, and nothing else scales.

mod config;
mod decoder;
mod encoder;
mod latent;
mod mid;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use crate::block::{ResnetBlock2D, ResnetShape};
use crate::layer::Conv2d;
use crate::weights::Weights;
use crate::{EngineError, Result};

pub use config::VaeConfig;
pub use latent::LatentDistribution;

/// Epsilon of all norms.
const EPS: f64 = 1e-6;

/// Encoder and decoder.
#[derive(Clone, Debug)]
pub struct AutoencoderKl {
    config: VaeConfig,
    encoder: encoder::Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: decoder::Decoder,
}

impl AutoencoderKl {
    /// Loads `config.json` and the weights in `folder`.
    ///
    /// # Errors
    /// When either cannot be read, the config asks for what is not supported, or the weights are not what it asks for.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> Result<Self> {
        let config = VaeConfig::load(folder)?;
        let weights = Weights::open(folder)?;
        let model = Self::new(config, &weights.builder(dtype, device))?;
        let unused = weights.unused();
        let is_own =
            |name: &&String| ["encoder.", "decoder.", "quant_", "post_quant_"].iter().any(|own| name.starts_with(own));
        match unused.iter().find(is_own) {
            Some(name) => Err(EngineError::config(
                folder.join("config.json"),
                format!(
                    "has no use for `{name}` in {}: the weights belong to another config",
                    weights.file().display()
                ),
            )),
            None => Ok(model),
        }
    }

    /// Takes the weights of the shape that `config` gives.
    ///
    /// # Errors
    /// When `config` asks for what is not supported, or weights are missing or have other shapes.
    pub fn new(config: VaeConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        config.check().map_err(EngineError::argument)?;
        let pointwise = |is_used: bool, n_channels: usize, name: &str| {
            is_used.then(|| Conv2d::new(n_channels, n_channels, 1, (1, 0), &weights.pp(name))).transpose()
        };
        Ok(Self {
            encoder: encoder::Encoder::new(&config, &weights.pp("encoder"))?,
            quant_conv: pointwise(config.use_quant_conv, 2 * config.latent_channels, "quant_conv")?,
            post_quant_conv: pointwise(config.use_post_quant_conv, config.latent_channels, "post_quant_conv")?,
            decoder: decoder::Decoder::new(&config, &weights.pp("decoder"))?,
            config,
        })
    }

    /// Its config.
    #[must_use]
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// The distribution of the latents of `pixels` (B, 3, H, W), which are in −1..=1. Latents are (B, C, H/f, W/f) with
    /// the config's `latent_channels` and [`VaeConfig::factor`].
    ///
    /// # Errors
    /// When the channels are others, or f does not divide H and W.
    pub fn encode(&self, pixels: &Tensor) -> Result<LatentDistribution> {
        let (_, channels, height, width) = pixels.dims4()?;
        let factor = self.config.factor();
        if channels != self.config.in_channels || [height, width].iter().any(|side| *side == 0 || side % factor != 0) {
            return Err(EngineError::argument(format!(
                "pixels of shape {:?} cannot be encoded: the VAE takes (B, {}, H, W), with H and W multiples of {factor}",
                pixels.dims(),
                self.config.in_channels
            )));
        }
        let moments = self.encoder.forward(pixels)?; // (B, 2·C, H/f, W/f)
        let moments = match &self.quant_conv {
            Some(quant_conv) => quant_conv.forward(&moments)?,
            None => moments,
        };
        Ok(LatentDistribution::new(&moments)?)
    }

    /// The pixels of `latents` (B, C, H, W), unscaled. Returns (B, 3, f·H, f·W), in −1..=1 but for overshoot.
    ///
    /// # Errors
    /// When the channels are others, or there are no pixels.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = latents.dims4()?;
        if channels != self.config.latent_channels || height == 0 || width == 0 {
            return Err(EngineError::argument(format!(
                "latents of shape {:?} cannot be decoded: the VAE takes (B, {}, H, W)",
                latents.dims(),
                self.config.latent_channels
            )));
        }
        let pixels = match &self.post_quant_conv {
            Some(post_quant_conv) => self.decoder.forward(&post_quant_conv.forward(latents)?)?,
            None => self.decoder.forward(latents)?,
        };
        Ok(pixels)
    }
}

/// A residual block as the VAE has it.
fn resnet(
    config: &VaeConfig,
    n_in: usize,
    n_out: usize,
    weights: &VarBuilder<'_>,
) -> candle_core::Result<ResnetBlock2D> {
    let shape = ResnetShape { n_in, n_out, n_groups: config.norm_num_groups, eps: EPS, n_time: None };
    ResnetBlock2D::new(shape, weights)
}

/// The channels of the first and the last level.
fn ends(channels: &[usize]) -> candle_core::Result<(usize, usize)> {
    match (channels.first(), channels.last()) {
        (Some(first), Some(last)) => Ok((*first, *last)),
        _ => candle_core::bail!("a VAE without levels"),
    }
}

#[cfg(test)]
mod tests;
