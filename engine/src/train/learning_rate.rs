//! How large a step is, step by step.

use serde::{Deserialize, Serialize};

use crate::{EngineError, Result};

/// How the learning rate goes on after warming up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It stays.
    Constant,
    /// It falls in a line to 0 at the last step.
    Linear,
    /// It falls in half a cosine to 0 at the last step.
    Cosine,
}

/// The learning rate of every step, as `get_scheduler` of diffusers has it: it grows in a line over `warm_up_steps`, then
/// goes on as `decay` says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// The highest.
    pub base: f64,
    /// Steps until it is reached. The first of them has a rate of 0, as in the reference.
    pub warm_up_steps: u64,
    /// What comes then.
    pub decay: Decay,
    /// All steps, warm-up included: where [`Decay::Linear`] and [`Decay::Cosine`] arrive at 0.
    pub total_steps: u64,
}

impl LearningRate {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self) -> Result<()> {
        if !(self.base >= 0.0 && self.base.is_finite()) {
            return Err(EngineError::argument(format!("a learning rate of {}: it must be 0 or more", self.base)));
        }
        if self.decay != Decay::Constant && self.total_steps <= self.warm_up_steps {
            return Err(EngineError::argument(format!(
                "a learning rate that warms up for {} of {} steps: none are left for its decay",
                self.warm_up_steps, self.total_steps
            )));
        }
        Ok(())
    }

    /// The rate of the step after `n_done` steps: the first is that of 0.
    #[must_use]
    pub fn at(&self, n_done: u64) -> f64 {
        self.base * self.factor(n_done)
    }

    fn factor(&self, n_done: u64) -> f64 {
        if n_done < self.warm_up_steps {
            return n_done as f64 / self.warm_up_steps as f64;
        }
        let n_decaying = self.total_steps.saturating_sub(self.warm_up_steps).max(1) as f64;
        let progress = (n_done - self.warm_up_steps) as f64 / n_decaying;
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => (1.0 - progress).max(0.0),
            // It stays at 0 where the reference's cosine would rise again.
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Golden, assert_close};

    #[test]
    fn rates_are_those_of_the_reference() {
        let golden = Golden::open("optimizer");
        for (decay, warm_up_steps, name) in [
            (Decay::Constant, 0, "constant"),
            (Decay::Constant, 5, "constant_with_warmup"),
            (Decay::Linear, 5, "linear"),
            (Decay::Cosine, 5, "cosine"),
        ] {
            let rate = LearningRate { base: 1.0, warm_up_steps, decay, total_steps: 30 };
            rate.check().unwrap();
            // Up to the last step, and the one after.
            let found: Vec<f64> = (0..=30).map(|step| rate.at(step)).collect();
            let found = candle_core::Tensor::new(found, &candle_core::Device::Cpu).unwrap();
            let expected = golden.case(&format!("rates.{name}")).narrow(0, 0, 31).unwrap();
            assert_close(name, &found, &expected, 1e-12);
            assert!(rate.at(1000) == if decay == Decay::Constant { 1.0 } else { 0.0 });
        }
    }

    #[test]
    fn rates_that_make_no_sense_are_refused() {
        let rate = LearningRate { base: 1e-3, warm_up_steps: 10, decay: Decay::Cosine, total_steps: 10 };
        assert!(rate.check().unwrap_err().to_string().contains("10 of 10 steps"));
        assert!(LearningRate { decay: Decay::Constant, ..rate }.check().is_ok());
        assert!(LearningRate { base: f64::NAN, decay: Decay::Constant, ..rate }.check().is_err());
    }
}
