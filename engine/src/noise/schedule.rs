//! How much signal is left at each timestep, and what predictions mean there.

use candle_core::{Result as TensorResult, Tensor};

use super::config::{BetaSchedule, NoiseConfig, PredictionType, TimestepSpacing};
use crate::{EngineError, Result};

/// β and ᾱ of every timestep, with diffusers' rounding: both are f32.
#[derive(Clone, Debug)]
pub struct NoiseSchedule {
    betas: Vec<f32>,
    alphas_cumprod: Vec<f32>,
    prediction: PredictionType,
    /// Range to which a predicted x0 is clipped, ±.
    clip: Option<f64>,
}

impl NoiseSchedule {
    /// The schedule that `config` describes.
    ///
    /// # Errors
    /// When numbers of the config make no sense.
    pub fn new(config: &NoiseConfig) -> Result<Self> {
        config.check().map_err(EngineError::argument)?;
        let mut betas = betas(config);
        if config.rescale_betas_zero_snr {
            betas = rescale_zero_terminal_snr(&betas);
        }
        let alphas_cumprod = cumulative_product(betas.iter().map(|beta| 1.0 - beta));
        let clip = config.clip_sample.then_some(config.clip_sample_range);
        Ok(Self { betas, alphas_cumprod, prediction: config.prediction_type, clip })
    }

    /// β per timestep, T of them.
    #[must_use]
    pub fn betas(&self) -> &[f32] {
        &self.betas
    }

    /// ᾱ per timestep, T of them: the square of what is left of x0.
    #[must_use]
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// What the model predicts.
    #[must_use]
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction
    }

    /// ᾱ of `timestep`.
    ///
    /// # Errors
    /// When there is no such timestep.
    pub fn alpha_cumprod(&self, timestep: u32) -> Result<f64> {
        self.alphas_cumprod.get(timestep as usize).map(|alpha| f64::from(*alpha)).ok_or_else(|| {
            EngineError::argument(format!("timestep {timestep}: the schedule has {}", self.alphas_cumprod.len()))
        })
    }

    /// x0 and ε that a model's `output` at ᾱ = `alpha` means, given the noisy `latents` x_t; all of one shape.
    /// x0 is clipped when the config says so; ε is not.
    ///
    /// # Errors
    /// When there is no signal (ᾱ = 0) and the model predicts ε, which then says nothing of x0; or of the tensors.
    pub fn x0_and_epsilon(&self, output: &Tensor, latents: &Tensor, alpha: f64) -> Result<(Tensor, Tensor)> {
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let (x0, epsilon) = match self.prediction {
            PredictionType::Epsilon if alpha <= 0.0 => {
                return Err(EngineError::argument(
                    "a timestep without signal (rescale_betas_zero_snr) says nothing of x0 when the model predicts \
                     epsilon: use v_prediction, or a timestep_spacing that leaves the last timestep out",
                ));
            }
            PredictionType::Epsilon => (((latents - (output * noise)?)? / signal)?, output.clone()),
            PredictionType::Sample => (output.clone(), ((latents - (output * signal)?)? / noise)?),
            PredictionType::VPrediction => {
                (((latents * signal)? - (output * noise)?)?, ((output * signal)? + (latents * noise)?)?)
            }
        };
        Ok((self.clipped(x0)?, epsilon))
    }

    fn clipped(&self, x0: Tensor) -> TensorResult<Tensor> {
        match self.clip {
            Some(range) => x0.clamp(-range, range),
            None => Ok(x0),
        }
    }
}

/// The `n_steps` timesteps that a sampler visits, falling.
///
/// # Errors
/// When there are more steps than timesteps, none, or the offset leads beyond the last.
pub fn timesteps(config: &NoiseConfig, n_steps: u32) -> Result<Vec<u32>> {
    let total = config.num_train_timesteps;
    if n_steps == 0 || n_steps > total {
        return Err(EngineError::argument(format!("{n_steps} steps: there must be 1 to {total}, the training's")));
    }
    let steps = 0..n_steps;
    Ok(match config.timestep_spacing {
        TimestepSpacing::Leading => {
            let stride = total / n_steps;
            let last = u64::from((n_steps - 1) * stride) + u64::from(config.steps_offset);
            if last >= u64::from(total) {
                return Err(EngineError::argument(format!(
                    "{n_steps} steps with `steps_offset` {}: the first timestep is {last}, and training has {total}: \
                     use fewer steps",
                    config.steps_offset
                )));
            }
            steps.rev().map(|step| step * stride + config.steps_offset).collect()
        }
        TimestepSpacing::Trailing => {
            let stride = f64::from(total) / f64::from(n_steps);
            let timestep = |step| (f64::from(total) - f64::from(step) * stride).round_ties_even() as u32;
            steps.map(|step| timestep(step).saturating_sub(1)).collect()
        }
        TimestepSpacing::Linspace => {
            let stride = f64::from(total - 1) / f64::from(n_steps.max(2) - 1);
            steps.rev().map(|step| (f64::from(step) * stride).round_ties_even() as u32).collect()
        }
    })
}

/// β before rescaling.
fn betas(config: &NoiseConfig) -> Vec<f32> {
    let n = config.num_train_timesteps as usize;
    match config.beta_schedule {
        BetaSchedule::Linear => linspace(config.beta_start, config.beta_end, n),
        BetaSchedule::ScaledLinear => {
            let roots = linspace(config.beta_start.sqrt(), config.beta_end.sqrt(), n);
            roots.into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredCosine => {
            let left = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
            let at = |step: usize| left(step as f64 / n as f64);
            (0..n).map(|step| (1.0 - at(step + 1) / at(step)).min(0.999) as f32).collect()
        }
    }
}

/// As torch computes it in f32: from either end to the middle.
fn linspace(start: f64, end: f64, n: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / (n.max(2) - 1) as f32;
    let from_start = |index: usize| step.mul_add(index as f32, start);
    let from_end = |index: usize| step.mul_add(-((n - 1 - index) as f32), end);
    (0..n).map(|index| if index < n / 2 { from_start(index) } else { from_end(index) }).collect()
}

/// As torch computes it: summed up in f64, rounded at every element.
fn cumulative_product(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    factors
        .scan(1.0, |product: &mut f64, factor| {
            *product *= f64::from(factor);
            Some(*product as f32)
        })
        .collect()
}

/// Algorithm 1 of arXiv 2305.08891: shifts √ᾱ so that the last is 0, scales it so that the first stays.
fn rescale_zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative_product(betas.iter().map(|beta| 1.0 - beta)).into_iter().map(f32::sqrt).collect();
    let (Some(first), Some(last)) = (roots.first().copied(), roots.last().copied()) else { return Vec::new() };
    let scale = first / (first - last);
    let squares = roots.into_iter().map(|root| ((root - last) * scale).powi(2));
    squares
        .scan(1.0, |previous, square| {
            let alpha = square / std::mem::replace(previous, square);
            Some(1.0 - alpha)
        })
        .collect()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
