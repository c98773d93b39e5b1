//! Eq. 3: the UNet learns to predict the noise in x~, given E(x) and F(x~).

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use super::encoded::{EncodedRows, EncodedTable};
use crate::cafe::ImageEncoders;
use crate::error::{EngineError, Result};
use crate::noise::{DdpmScheduler, Noise};
use crate::picture::pixels;
use crate::unet::{CafeConditioning, Conditioning, UNet};
use crate::vae::{AutoencoderKl, LatentDistribution, VaeConfig};

/// What one step of Eq. 3 trains on.
#[derive(Clone, Debug)]
pub struct DiffusionBatch {
    /// Latents of x~, scaled: (B, C, H, W).
    pub latents: Tensor,
    /// F(x~) and E(x).
    pub conditions: CafeConditioning,
}

impl DiffusionBatch {
    /// What a step needs of pairs of x and x~, the latter for the VAE resized and cropped to `size_px` (height, width): the columns
    /// `clip`, F(x~); `dino`, E(x); `latent_mean` and `latent_log_variance` of x~, not scaled.
    ///
    /// # Errors
    /// When there are not as many of both, or of the tensors.
    pub fn encode(
        encoders: &ImageEncoders,
        vae: &AutoencoderKl,
        (references, targets): (&[RgbImage], &[RgbImage]),
        size_px: (u32, u32),
        device: &Device,
    ) -> Result<EncodedRows> {
        if references.len() != targets.len() {
            let (n_references, n_targets) = (references.len(), targets.len());
            return Err(EngineError::argument(format!(
                "{n_references} references and {n_targets} targets: pairs are wanted"
            )));
        }
        let latents = vae.encode(&pixels::from_images(targets, size_px, device)?)?;
        Ok(EncodedRows::new([
            ("clip", encoders.clip(targets)?),
            ("dino", encoders.dino(references)?),
            ("latent_mean", latents.mean),
            ("latent_log_variance", latents.log_variance),
        ]))
    }

    /// The pairs `rows` of `table`; their latents are drawn by `noise` and scaled.
    ///
    /// # Errors
    /// When a row was not encoded, or its shard is damaged.
    pub fn read(table: &EncodedTable, rows: &[usize], vae: &VaeConfig, noise: &Noise, device: &Device) -> Result<Self> {
        let stack = |name: &str| table.stack(rows, name, device);
        let latents = LatentDistribution { mean: stack("latent_mean")?, log_variance: stack("latent_log_variance")? };
        let drawn = noise.normal(latents.mean.shape().clone(), device)?;
        Ok(Self {
            latents: vae.scale_latents(&latents.sample(&drawn)?)?,
            conditions: CafeConditioning { clip: stack("clip")?, dino: stack("dino")? },
        })
    }
}

/// What is drawn for a batch: all of the step's randomness.
#[derive(Clone, Debug)]
pub struct DiffusionDraw {
    /// Gaussian, (B, C, H, W).
    pub noise: Tensor,
    /// One for each of the B rows.
    pub timesteps: Vec<u32>,
    /// 0 where F(x~) is dropped, else 1: (B).
    pub keep_clip: Tensor,
    /// 0 where E(x) is dropped, else 1: (B).
    pub keep_dino: Tensor,
}

impl DiffusionDraw {
    /// Draws for a batch whose latents have `shape` (B, C, H, W): timesteps below `n_timesteps`, and each condition
    /// dropped on its own with probability `drop_probability` (0.1 in the paper).
    ///
    /// # Errors
    /// When the probability is none.
    pub fn new(
        shape: &[usize],
        n_timesteps: u32,
        drop_probability: f64,
        noise: &Noise,
        device: &Device,
    ) -> Result<Self> {
        let batch = shape.first().copied().unwrap_or_default();
        let keep = |purpose: &str| -> Result<Tensor> {
            let kept = noise.of(purpose).bernoulli(batch, 1.0 - drop_probability);
            let kept: Vec<f32> = kept.into_iter().map(|is_kept| if is_kept { 1.0 } else { 0.0 }).collect();
            Ok(Tensor::new(kept, device)?)
        };
        Ok(Self {
            noise: noise.of("noise").normal(shape, device)?,
            timesteps: noise.of("timesteps").integers(batch, n_timesteps),
            keep_clip: keep("keep_clip")?,
            keep_dino: keep("keep_dino")?,
        })
    }
}

/// The loss of Eq. 3, a scalar: the mean square of predicted − true noise, or velocity where the noise scheduler says so. With
/// `min_snr_gamma` each row has the weight of [`NoiseSchedule::min_snr_weights`](crate::noise::NoiseSchedule::min_snr_weights).
///
/// # Errors
/// When shapes do not fit, γ is out of range, or of the tensors.
pub fn diffusion_loss(
    unet: &UNet,
    scheduler: &DdpmScheduler,
    batch: &DiffusionBatch,
    draw: &DiffusionDraw,
    min_snr_gamma: Option<f64>,
) -> Result<Tensor> {
    let noisy = scheduler.add_noise(&batch.latents, &draw.noise, &draw.timesteps)?;
    let target = scheduler.target(&batch.latents, &draw.noise, &draw.timesteps)?;
    let conditions = batch.conditions.kept(&draw.keep_clip, &draw.keep_dino)?;
    let timesteps = Tensor::new(draw.timesteps.as_slice(), noisy.device())?;
    let predicted = unet.forward(&noisy, &timesteps, &Conditioning::Cafe(conditions))?;
    let squares = (predicted - target)?.sqr()?.to_dtype(DType::F32)?;
    let Some(gamma) = min_snr_gamma else { return Ok(squares.mean_all()?) };
    let weights = scheduler.schedule().min_snr_weights(&draw.timesteps, gamma)?;
    // (B)
    let of_rows = squares.flatten_from(1)?.mean(1)?;
    let weights = Tensor::new(weights, of_rows.device())?;
    Ok((of_rows * weights)?.mean_all()?)
}

#[cfg(test)]
#[path = "diffusion_tests.rs"]
mod tests;
