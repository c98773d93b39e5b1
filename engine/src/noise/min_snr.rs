//! Min-SNR weights of the loss (arXiv 2303.09556): timesteps with little noise, of which there are many and which say much the same,
//! count no more than a bound.

use super::config::PredictionType;
use super::schedule::NoiseSchedule;
use crate::error::{EngineError, Result};

impl NoiseSchedule {
    /// The weight of each row of a batch at `timesteps`: min(SNR, γ) as a weight on x0's error, in terms of what the model predicts.
    ///
    /// As `train_text_to_image.py` of diffusers has it: min(SNR, γ)/SNR for noise, min(SNR, γ)/(SNR + 1) for velocity. Where a
    /// timestep has no signal, SNR = 0, that is 1 for noise, its limit, and 0 for velocity.
    ///
    /// # Errors
    /// When γ is not above 0, or a timestep is none of the schedule's.
    pub fn min_snr_weights(&self, timesteps: &[u32], gamma: f64) -> Result<Vec<f32>> {
        if !(gamma.is_finite() && gamma > 0.0) {
            return Err(EngineError::argument(format!("min-SNR γ is {gamma}: it must be above 0; 5 is usual")));
        }
        timesteps
            .iter()
            .map(|timestep| {
                let alpha = self.alpha_cumprod(*timestep)?;
                let snr = alpha / (1.0 - alpha);
                let weight = match self.prediction_type() {
                    PredictionType::Epsilon => (gamma / snr).min(1.0),
                    PredictionType::VPrediction => snr.min(gamma) / (snr + 1.0),
                    PredictionType::Sample => snr.min(gamma),
                };
                Ok(weight as f32)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::noise::{NoiseConfig, NoiseSchedule, PredictionType};

    fn schedule(prediction_type: PredictionType) -> NoiseSchedule {
        let config = NoiseConfig { rescale_betas_zero_snr: true, ..NoiseConfig::stable_diffusion(prediction_type) };
        NoiseSchedule::new(&config).unwrap()
    }

    #[test]
    fn a_timestep_without_signal_has_the_limit_of_the_weight() {
        for (prediction_type, wanted) in
            [(PredictionType::Epsilon, 1.0), (PredictionType::VPrediction, 0.0), (PredictionType::Sample, 0.0)]
        {
            assert_eq!(schedule(prediction_type).min_snr_weights(&[999], 5.0).unwrap(), [wanted]);
        }
    }

    #[test]
    fn a_weight_is_highest_where_signal_to_noise_is_the_bound() {
        let schedule = schedule(PredictionType::VPrediction);
        let all: Vec<u32> = (0..1000).collect();
        let weights = schedule.min_snr_weights(&all, 5.0).unwrap();
        let best = (0..1000).max_by(|a, b| weights[*a].total_cmp(&weights[*b])).unwrap();
        let alpha = f64::from(schedule.alphas_cumprod()[best]);
        assert!((alpha / (1.0 - alpha) - 5.0).abs() < 0.1, "at {best}");
    }

    #[test]
    fn what_is_no_bound_or_no_timestep_is_refused() {
        let schedule = schedule(PredictionType::Epsilon);
        for gamma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(schedule.min_snr_weights(&[1], gamma).unwrap_err().to_string().contains("above 0"));
        }
        assert!(schedule.min_snr_weights(&[1000], 5.0).unwrap_err().to_string().contains("timestep 1000"));
    }
}
