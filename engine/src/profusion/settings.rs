//! How fusion sampling is guided.

use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};

/// How a picture is sampled. The defaults are those of ProFusion's pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FusionSettings {
    /// N, steps of DDIM.
    pub n_steps: u32,
    /// s1, how much S* counts in step B.
    pub subject_scale: f64,
    /// s2, how much the prompt with a generic noun in its place counts in step B.
    pub noun_scale: f64,
    /// η of DDIM in step B.
    pub ddim_eta: f64,
    /// r, how often step A is repeated before each step B. With 0 the two conditions are taken for independent.
    pub n_refine: u32,
    /// η of step A, 0 to 1.
    pub refine_eta: f64,
    /// γ, what the state of S* is multiplied by in step A.
    pub gamma: f64,
    /// w_f, the guidance of step A.
    pub refine_scale: f64,
}

impl Default for FusionSettings {
    fn default() -> Self {
        Self {
            n_steps: 50,
            subject_scale: 5.0,
            noun_scale: 0.0,
            ddim_eta: 0.0,
            n_refine: 0,
            refine_eta: 1.0,
            gamma: 0.8,
            refine_scale: 3.0,
        }
    }
}

impl FusionSettings {
    /// The example of ProFusion's notebook: s1 = 7, s2 = 5, r = 1, γ = 0.6 (0.4 to 0.9 are useful), w_f = 7.
    #[must_use]
    pub fn notebook() -> Self {
        Self { subject_scale: 7.0, noun_scale: 5.0, n_refine: 1, gamma: 0.6, refine_scale: 7.0, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.refine_eta) {
            return Err(EngineError::argument(format!("refine_eta is {}: it must be 0 to 1", self.refine_eta)));
        }
        for (name, number) in [
            ("subject_scale", self.subject_scale),
            ("noun_scale", self.noun_scale),
            ("gamma", self.gamma),
            ("refine_scale", self.refine_scale),
        ] {
            if !number.is_finite() {
                return Err(EngineError::argument(format!("{name} is {number}: it must be a number")));
            }
        }
        Ok(())
    }
}
