//! DDIM (arXiv 2010.02502): sampling in few steps, with as much new noise as one likes.

use candle_core::Tensor;

use super::config::NoiseConfig;
use super::ddpm::step_at;
use super::schedule::{NoiseSchedule, timesteps};
use crate::{EngineError, Result};

/// A walk from noise to a picture in `n_steps` steps, with η of the noise that DDPM would add: 0 is deterministic.
#[derive(Clone, Debug)]
pub struct DdimScheduler {
    schedule: NoiseSchedule,
    timesteps: Vec<u32>,
    stride: u32,
    /// ᾱ after the last step.
    final_alpha: f64,
    eta: f64,
}

impl DdimScheduler {
    /// Sampling in `n_steps` steps with `eta` of 0 to 1.
    ///
    /// # Errors
    /// When numbers of the config or `eta` make no sense, or there cannot be so many steps.
    pub fn new(config: &NoiseConfig, n_steps: u32, eta: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(EngineError::argument(format!("eta is {eta}: it must be 0 to 1")));
        }
        let schedule = NoiseSchedule::new(config)?;
        let final_alpha = if config.set_alpha_to_one { 1.0 } else { schedule.alpha_cumprod(0)? };
        let timesteps = timesteps(config, n_steps)?;
        let stride = config.num_train_timesteps / n_steps;
        Ok(Self { schedule, timesteps, stride, final_alpha, eta })
    }

    /// The timesteps, falling: what the model is given at each step.
    #[must_use]
    pub fn timesteps(&self) -> &[u32] {
        &self.timesteps
    }

    /// How much signal is left at each timestep.
    #[must_use]
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// Whether steps add noise: η > 0.
    #[must_use]
    pub fn wants_noise(&self) -> bool {
        self.eta > 0.0
    }

    /// ᾱ before and after step number `index`, from 0.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn alphas(&self, index: usize) -> Result<(f64, f64)> {
        let timestep = step_at(&self.timesteps, index)?;
        let after = match timestep.checked_sub(self.stride) {
            Some(timestep) => self.schedule.alpha_cumprod(timestep)?,
            None => self.final_alpha,
        };
        Ok((self.schedule.alpha_cumprod(timestep)?, after))
    }

    /// Step number `index`, from 0: the latents of the next timestep, given the model's `output` for these `latents`, and
    /// `noise` when η > 0; all of one shape.
    ///
    /// # Errors
    /// When there is no such step, noise is missing, or of the tensors.
    pub fn step(&self, output: &Tensor, index: usize, latents: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let (alpha, after) = self.alphas(index)?;
        let (x0, epsilon) = self.schedule.x0_and_epsilon(output, latents, alpha)?;
        // Equations 12 and 16 of the paper.
        let variance = self.eta.powi(2) * variance(alpha, after);
        let direction = (epsilon * (1.0 - after - variance).max(0.0).sqrt())?;
        let mean = ((x0 * after.sqrt())? + direction)?;
        match noise {
            _ if !self.wants_noise() => Ok(mean),
            Some(noise) => Ok((mean + (noise * variance.sqrt())?)?),
            None => Err(EngineError::argument(format!("step {index} with eta {} needs noise", self.eta))),
        }
    }
}

/// The variance of the noise that DDPM would add between ᾱ = `alpha` and ᾱ = `after`: σ² of Equation 16 with η = 1.
#[must_use]
pub fn variance(alpha: f64, after: f64) -> f64 {
    ((1.0 - after) / (1.0 - alpha) * (1.0 - alpha / after)).max(0.0)
}

#[cfg(test)]
#[path = "ddim_tests.rs"]
pub(super) mod tests;
