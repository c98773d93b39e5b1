//! DPM-Solver++ (arXiv 2211.01095): sampling of second order, which needs fewer steps than DDIM.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::config::{BetaSchedule, NoiseConfig, TimestepSpacing};
use super::ddpm::step_at;
use super::schedule::{self, NoiseSchedule};
use crate::{EngineError, Result};

/// How much noise is left after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// None: the last step returns the x0 that is predicted there.
    Zero,
    /// As much as timestep 0 has.
    SigmaMin,
}

/// What diffusers' `DPMSolverMultistepScheduler` reads of `scheduler_config.json` beside the noise, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DpmSolverConfig {
    /// Which timesteps are visited; the one of [`NoiseConfig`] is DDIM's, whose default is another.
    pub timestep_spacing: TimestepSpacing,
    /// Whether the last of fewer than 15 steps is of first order, for stability.
    pub lower_order_final: bool,
    /// Whether the last step is of first order, however many there are.
    pub euler_at_final: bool,
    /// Whether noise falls as in arXiv 2206.00364, Equation 5, and timesteps are sought for it.
    pub use_karras_sigmas: bool,
    /// How much noise is left after the last step.
    pub final_sigmas_type: FinalSigma,
}

impl Default for DpmSolverConfig {
    fn default() -> Self {
        Self {
            timestep_spacing: TimestepSpacing::Linspace,
            lower_order_final: true,
            euler_at_final: false,
            use_karras_sigmas: false,
            final_sigmas_type: FinalSigma::Zero,
        }
    }
}

/// Where a step led, and what the next one wants to know of it.
#[derive(Clone, Debug)]
pub struct DpmSolverStep {
    /// Latents of the next timestep.
    pub latents: Tensor,
    /// The picture as it was predicted in this step, of the same shape.
    pub x0: Tensor,
}

/// A walk from noise to a picture by DPM-Solver++ 2M: second order, multistep, midpoint. It adds no noise.
#[derive(Clone, Debug)]
pub struct DpmSolverScheduler {
    schedule: NoiseSchedule,
    config: DpmSolverConfig,
    timesteps: Vec<u32>,
    /// Noise per signal, √((1-ᾱ)/ᾱ), before each step and after the last; f32, as in the reference.
    sigmas: Vec<f32>,
}

/// Number of steps from which on the reference no longer lowers the order of the last one.
const MANY_STEPS: usize = 15;

/// ᾱ of the last timestep where the schedule leaves no signal: the reference's number, at which σ is finite.
const LEAST_ALPHA: f32 = 1.0 / (1 << 24) as f32;

impl DpmSolverScheduler {
    /// Sampling in `n_steps` steps along the schedule of `noise`, whose spacing and clipping do not matter here.
    ///
    /// # Errors
    /// When numbers of the configs make no sense, or there cannot be so many steps.
    pub fn new(noise: &NoiseConfig, config: DpmSolverConfig, n_steps: u32) -> Result<Self> {
        let schedule = NoiseSchedule::new(&NoiseConfig { clip_sample: false, ..noise.clone() })?;
        let signal = |alpha: &f32| if *alpha > 0.0 { *alpha } else { LEAST_ALPHA };
        let table: Vec<f32> = schedule.alphas_cumprod().iter().map(signal).map(sigma).collect();
        let (timesteps, mut sigmas) = if config.use_karras_sigmas {
            karras(&table, noise, n_steps)?
        } else {
            let timesteps = timesteps(noise, config.timestep_spacing, n_steps)?;
            let sigmas = timesteps.iter().filter_map(|timestep| table.get(*timestep as usize)).copied().collect();
            (timesteps, sigmas)
        };
        if !sigmas.is_sorted_by(|left, right| left > right) {
            return Err(EngineError::argument(format!("{n_steps} steps: two would be at the same noise: use fewer")));
        }
        sigmas.push(match config.final_sigmas_type {
            FinalSigma::Zero => 0.0,
            FinalSigma::SigmaMin => table.first().copied().unwrap_or_default(),
        });
        Ok(Self { schedule, config, timesteps, sigmas })
    }

    /// The timesteps, falling: what the model is given at each step.
    #[must_use]
    pub fn timesteps(&self) -> &[u32] {
        &self.timesteps
    }

    /// Noise per signal, √((1-ᾱ)/ᾱ), before each step and after the last: one more than there are steps.
    #[must_use]
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// Signal and noise, √ᾱ and √(1-ᾱ), before step number `index`; after the last step, where it is their number.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn scales(&self, index: usize) -> Result<(f64, f64)> {
        match self.sigmas.get(index) {
            Some(sigma) => Ok(signal_and_noise(f64::from(*sigma))),
            None => Err(EngineError::argument(format!("step {index}: there are {}, from 0", self.timesteps.len()))),
        }
    }

    /// Step number `index`, from 0: the latents of the next timestep, given the model's `output` for these `latents`, and
    /// x0 of the step before: `previous`, none at the first one that is taken, which is of first order. All are of one
    /// shape.
    ///
    /// # Errors
    /// When there is no such step, or of the tensors.
    pub fn step(
        &self,
        output: &Tensor,
        index: usize,
        latents: &Tensor,
        previous: Option<&Tensor>,
    ) -> Result<DpmSolverStep> {
        step_at(&self.timesteps, index)?;
        let ((signal, noise), (next_signal, next_noise)) = (self.scales(index)?, self.scales(index + 1)?);
        let (x0, _) = self.schedule.x0_and_epsilon(output, latents, signal.powi(2))?;
        // With λ = ln(signal/noise) and h the step in λ: e^-h, which is 0 where no noise is left.
        let left = next_noise / next_signal * signal / noise;
        let before = index.checked_sub(1).filter(|_| !self.is_first_order(index));
        let direction = match (previous, before) {
            (Some(previous), Some(before)) => {
                let (signal_before, noise_before) = self.scales(before)?;
                let step_before = (signal / noise * noise_before / signal_before).ln();
                let share = -left.ln() / step_before; // 1/r0
                (&x0 + ((&x0 - previous)? * (0.5 * share))?)?
            }
            _ => x0.clone(),
        };
        // Algorithm 2 of the paper.
        let latents = ((latents * (next_noise / noise))? + (direction * (next_signal * (1.0 - left)))?)?;
        Ok(DpmSolverStep { latents, x0 })
    }

    /// Whether step `index` takes no account of the one before.
    fn is_first_order(&self, index: usize) -> bool {
        let Self { config, timesteps, .. } = self;
        index + 1 == timesteps.len()
            && (config.euler_at_final
                || config.final_sigmas_type == FinalSigma::Zero
                || config.lower_order_final && timesteps.len() < MANY_STEPS)
    }
}

/// √((1-ᾱ)/ᾱ).
fn sigma(alpha: f32) -> f32 {
    ((1.0 - alpha) / alpha).sqrt()
}

/// √ᾱ and √(1-ᾱ).
fn signal_and_noise(sigma: f64) -> (f64, f64) {
    let signal = 1.0 / (sigma.powi(2) + 1.0).sqrt();
    (signal, sigma * signal)
}

/// The timesteps of the reference, which, unlike those of DDIM, leave out the end where one step more would lead.
fn timesteps(noise: &NoiseConfig, spacing: TimestepSpacing, n_steps: u32) -> Result<Vec<u32>> {
    let total = noise.num_train_timesteps;
    if n_steps == 0 || n_steps >= total {
        return Err(EngineError::argument(format!("{n_steps} steps: there must be 1 to {}", total.saturating_sub(1))));
    }
    let steps = (1..=n_steps).rev();
    Ok(match spacing {
        TimestepSpacing::Leading => {
            let stride = total / (n_steps + 1);
            let last = u64::from(n_steps * stride) + u64::from(noise.steps_offset);
            if stride == 0 || last >= u64::from(total) {
                return Err(EngineError::argument(format!(
                    "{n_steps} steps with `steps_offset` {}: the first timestep is {last}, and training has {total}: \
                     use fewer steps",
                    noise.steps_offset
                )));
            }
            steps.map(|step| step * stride + noise.steps_offset).collect()
        }
        TimestepSpacing::Linspace => {
            let stride = f64::from(total - 1) / f64::from(n_steps);
            steps.map(|step| (f64::from(step) * stride).round_ties_even() as u32).collect()
        }
        TimestepSpacing::Trailing => {
            schedule::timesteps(&NoiseConfig { timestep_spacing: spacing, ..noise.clone() }, n_steps)?
        }
    })
}

/// Timesteps and σ, whose seventh roots fall evenly.
fn karras(table: &[f32], noise: &NoiseConfig, n_steps: u32) -> Result<(Vec<u32>, Vec<f32>)> {
    const RHO: f64 = 7.0;
    let [least, .., most] = table else {
        return Err(EngineError::argument("`use_karras_sigmas` with one timestep: there must be more"));
    };
    if n_steps == 0 || n_steps >= noise.num_train_timesteps {
        let most = noise.num_train_timesteps - 1;
        return Err(EngineError::argument(format!("{n_steps} steps: there must be 1 to {most}")));
    }
    let root = |sigma: f32| f64::from(sigma).powf(1.0 / RHO);
    let (first, last) = (root(*most), root(*least));
    let ramp = (0..n_steps).map(|step| f64::from(step) / f64::from(n_steps.max(2) - 1));
    let sigmas: Vec<f64> = ramp.map(|ramp| (first + ramp * (last - first)).powf(RHO)).collect();
    let logarithms: Vec<f64> = table.iter().map(|sigma| f64::from(sigma.ln())).collect();
    let timestep = |sigma: &f64| {
        let timestep = timestep_of(sigma.ln(), &logarithms);
        // As in the reference, which rounds down where it forgets to round.
        if noise.beta_schedule == BetaSchedule::SquaredCosine {
            timestep as u32
        } else {
            timestep.round_ties_even() as u32
        }
    };
    Ok((sigmas.iter().map(timestep).collect(), sigmas.iter().map(|sigma| *sigma as f32).collect()))
}

/// Where in a rising table a number is: an index, with what is between two.
fn timestep_of(number: f64, table: &[f64]) -> f64 {
    let above = table.partition_point(|entry| *entry <= number).clamp(1, table.len().max(2) - 1);
    match (table.get(above - 1), table.get(above)) {
        (Some(low), Some(high)) => (above - 1) as f64 + ((number - low) / (high - low)).clamp(0.0, 1.0),
        _ => 0.0,
    }
}

#[cfg(test)]
#[path = "dpm_solver_tests.rs"]
mod tests;
