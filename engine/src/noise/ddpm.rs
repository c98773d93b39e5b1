//! DDPM (arXiv 2006.11239): noise added in training, and the steps that take it away one by one.

use candle_core::{Result as TensorResult, Tensor};

use super::config::{NoiseConfig, PredictionType, VarianceType};
use super::schedule::{NoiseSchedule, timesteps};
use crate::{EngineError, Result};

/// The forward process, for training: every sample of a batch at a timestep of its own.
#[derive(Clone, Debug)]
pub struct DdpmScheduler {
    schedule: NoiseSchedule,
}

impl DdpmScheduler {
    /// The forward process of `config`.
    ///
    /// # Errors
    /// When numbers of the config make no sense.
    pub fn new(config: &NoiseConfig) -> Result<Self> {
        Ok(Self { schedule: NoiseSchedule::new(config)? })
    }

    /// How much signal is left at each timestep.
    #[must_use]
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// x_t = √ᾱ·x0 + √(1-ᾱ)·ε, with `x0` and `noise` (B, …) and one timestep per sample (B).
    ///
    /// # Errors
    /// When shapes do not fit, there is no such timestep, or of the tensors.
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, timesteps: &[u32]) -> Result<Tensor> {
        let (signal, scale) = self.scales(x0, timesteps)?;
        Ok((x0.broadcast_mul(&signal)? + noise.broadcast_mul(&scale)?)?)
    }

    /// v = √ᾱ·ε - √(1-ᾱ)·x0, with `x0` and `noise` (B, …) and one timestep per sample (B).
    ///
    /// # Errors
    /// As of [`Self::add_noise`].
    pub fn velocity(&self, x0: &Tensor, noise: &Tensor, timesteps: &[u32]) -> Result<Tensor> {
        let (signal, scale) = self.scales(x0, timesteps)?;
        Ok((noise.broadcast_mul(&signal)? - x0.broadcast_mul(&scale)?)?)
    }

    /// What the model should predict: ε, v or x0, as the config says; (B, …).
    ///
    /// # Errors
    /// As of [`Self::add_noise`].
    pub fn target(&self, x0: &Tensor, noise: &Tensor, timesteps: &[u32]) -> Result<Tensor> {
        match self.schedule.prediction_type() {
            PredictionType::Epsilon => Ok(noise.clone()),
            PredictionType::Sample => Ok(x0.clone()),
            PredictionType::VPrediction => self.velocity(x0, noise, timesteps),
        }
    }

    /// √ᾱ and √(1-ᾱ) per sample, (B, 1, …).
    fn scales(&self, like: &Tensor, timesteps: &[u32]) -> Result<(Tensor, Tensor)> {
        if like.dims().first() != Some(&timesteps.len()) {
            return Err(EngineError::argument(format!(
                "{} timesteps for samples of shape {:?}: there must be one for each of the first dimension",
                timesteps.len(),
                like.dims()
            )));
        }
        let alphas: Vec<f64> =
            timesteps.iter().map(|timestep| self.schedule.alpha_cumprod(*timestep)).collect::<Result<_>>()?;
        let mut shape = vec![1; like.rank()];
        if let Some(batch) = shape.first_mut() {
            *batch = alphas.len();
        }
        let column = |scale: fn(f64) -> f64| -> TensorResult<Tensor> {
            let numbers: Vec<f64> = alphas.iter().copied().map(scale).collect();
            Tensor::from_vec(numbers, shape.as_slice(), &candle_core::Device::Cpu)?
                .to_dtype(like.dtype())?
                .to_device(like.device())
        };
        Ok((column(f64::sqrt)?, column(|alpha| (1.0 - alpha).sqrt())?))
    }
}

/// Ancestral sampling: the forward process walked back, with new noise at every step but the last.
#[derive(Clone, Debug)]
pub struct AncestralScheduler {
    schedule: NoiseSchedule,
    variance: VarianceType,
    timesteps: Vec<u32>,
    stride: u32,
}

impl AncestralScheduler {
    /// Sampling in `n_steps` steps.
    ///
    /// # Errors
    /// When numbers of the config make no sense, or there cannot be so many steps.
    pub fn new(config: &NoiseConfig, n_steps: u32) -> Result<Self> {
        let schedule = NoiseSchedule::new(config)?;
        let timesteps = timesteps(config, n_steps)?;
        let stride = config.num_train_timesteps / n_steps;
        Ok(Self { schedule, variance: config.variance_type, timesteps, stride })
    }

    /// The timesteps, falling: what the model is given at each step.
    #[must_use]
    pub fn timesteps(&self) -> &[u32] {
        &self.timesteps
    }

    /// Step number `index`, from 0: the latents of the next timestep, given the model's `output` for these `latents`, and
    /// `noise`, all of one shape.
    ///
    /// # Errors
    /// When there is no such step, or of the tensors.
    pub fn step(&self, output: &Tensor, index: usize, latents: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let timestep = step_at(&self.timesteps, index)?;
        let alpha = self.schedule.alpha_cumprod(timestep)?;
        let previous = match timestep.checked_sub(self.stride) {
            Some(timestep) => self.schedule.alpha_cumprod(timestep)?,
            None => 1.0,
        };
        let beta = 1.0 - alpha / previous;
        let (x0, _) = self.schedule.x0_and_epsilon(output, latents, alpha)?;
        // Equation 7 of the paper.
        let of_x0 = previous.sqrt() * beta / (1.0 - alpha);
        let of_latents = (alpha / previous).sqrt() * (1.0 - previous) / (1.0 - alpha);
        let mean = ((x0 * of_x0)? + (latents * of_latents)?)?;
        if timestep == 0 {
            return Ok(mean);
        }
        let variance = match self.variance {
            VarianceType::FixedSmall => (1.0 - previous) / (1.0 - alpha) * beta,
            VarianceType::FixedLarge => beta,
        };
        Ok((mean + (noise * variance.max(1e-20).sqrt())?)?)
    }
}

/// The timestep of step `index`.
pub(super) fn step_at(timesteps: &[u32], index: usize) -> Result<u32> {
    timesteps
        .get(index)
        .copied()
        .ok_or_else(|| EngineError::argument(format!("step {index}: there are {}, from 0", timesteps.len())))
}

#[cfg(test)]
#[path = "ddpm_tests.rs"]
mod tests;
