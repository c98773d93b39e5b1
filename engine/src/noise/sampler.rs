//! One interface to all samplers, and the choice between them.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::config::{JsonObject, NoiseConfig, json_object};
use super::ddim::DdimScheduler;
use super::dpm_solver::{DpmSolverConfig, DpmSolverScheduler};
use crate::{EngineError, Result};

/// How noise is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SamplerKind {
    /// DDIM: first order, with new noise or without.
    #[serde(rename = "ddim")]
    Ddim,
    /// DPM-Solver++ 2M: second order, without new noise; a third to a half of DDIM's steps do.
    #[serde(rename = "dpm-solver++")]
    DpmSolver,
}

/// Noise schedule and sampler of a model: diffusers' `scheduler_config.json`.
#[derive(Clone, Debug)]
pub struct SamplerConfig {
    /// How much noise a timestep has, and what the model predicts.
    pub noise: NoiseConfig,
    class: Option<String>,
    /// Refused only where it is used: DDIM does not mind.
    dpm_solver: std::result::Result<DpmSolverConfig, String>,
    file: PathBuf,
}

impl SamplerConfig {
    /// Reads the config `file`.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or its noise is not to be had here.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| EngineError::io(file, error))?;
        Self::parse(&text, file).map_err(|message| EngineError::config(file, message))
    }

    fn parse(text: &str, file: &Path) -> std::result::Result<Self, String> {
        let json = json_object(text)?;
        let class = match json.get("_class_name") {
            Some(serde_json::Value::String(class)) => Some(class.clone()),
            Some(other) => return Err(format!("`_class_name` is {other}: a word is expected")),
            None => None,
        };
        let mut noise = NoiseConfig::from_json(&json)?;
        // Classes that never clip do not say so.
        let clips = matches!(class.as_deref(), None | Some("DDIMScheduler" | "DDPMScheduler"));
        noise.clip_sample &= clips || json.contains_key("clip_sample");
        Ok(Self { noise, class, dpm_solver: dpm_solver(&json), file: file.into() })
    }

    /// The sampler that the file asks for: PNDM's and DDPM's configs are sampled with DDIM.
    ///
    /// # Errors
    /// When it asks for one that there is not here.
    pub fn kind(&self) -> Result<SamplerKind> {
        match self.class.as_deref() {
            None | Some("DDIMScheduler" | "PNDMScheduler" | "DDPMScheduler") => Ok(SamplerKind::Ddim),
            Some("DPMSolverMultistepScheduler") => Ok(SamplerKind::DpmSolver),
            Some(class) => Err(EngineError::config(
                &self.file,
                format!(
                    "`_class_name` is \"{class}\": supported are DDIMScheduler, PNDMScheduler, DDPMScheduler and \
                     DPMSolverMultistepScheduler; or choose a sampler, ddim or dpm-solver++, which can use the rest of \
                     this file"
                ),
            )),
        }
    }

    /// A sampler of `n_steps` steps: of `kind`, or the one that the file asks for. `eta`, 0 to 1, is the noise that DDIM
    /// adds; DPM-Solver++ adds none.
    ///
    /// # Errors
    /// When there is no such sampler, its options are not supported, `eta` does not suit it, or there cannot be so many
    /// steps.
    pub fn sampler(&self, kind: Option<SamplerKind>, n_steps: u32, eta: f64) -> Result<Sampler> {
        match kind.map_or_else(|| self.kind(), Ok)? {
            SamplerKind::Ddim => Ok(Sampler::Ddim(DdimScheduler::new(&self.noise, n_steps, eta)?)),
            SamplerKind::DpmSolver if eta != 0.0 => Err(EngineError::argument(format!(
                "eta is {eta}: DPM-Solver++ adds no noise; it must be 0, or use ddim"
            ))),
            SamplerKind::DpmSolver => {
                let config = self.dpm_solver.clone().map_err(|message| EngineError::config(&self.file, message))?;
                Ok(Sampler::DpmSolver(DpmSolverScheduler::new(&self.noise, config, n_steps)?))
            }
        }
    }
}

/// What DPM-Solver++ reads of the file, refused by key and value where it asks for more than there is.
fn dpm_solver(json: &JsonObject) -> std::result::Result<DpmSolverConfig, String> {
    for (key, value) in json {
        let supported: &[serde_json::Value] = match key.as_str() {
            // The reference takes the last word of each line for the first.
            "algorithm_type" => &["dpmsolver++".into(), "deis".into()],
            "solver_type" => &["midpoint".into(), "logrho".into(), "bh1".into(), "bh2".into()],
            "solver_order" => &[2.into()],
            "final_sigmas_type" => &["zero".into(), "sigma_min".into()],
            "use_lu_lambdas" | "use_exponential_sigmas" | "use_beta_sigmas" | "use_flow_sigmas" => &[false.into()],
            "lambda_min_clipped" => &[],
            _ => continue,
        };
        if !supported.contains(value) {
            let supported: Vec<String> = supported.iter().map(ToString::to_string).collect();
            let supported = if supported.is_empty() { "null".to_owned() } else { supported.join(", ") };
            return Err(format!("`{key}` is {value}: DPM-Solver++ supports {supported} here"));
        }
    }
    serde_json::from_value(serde_json::Value::Object(json.clone())).map_err(|error| error.to_string())
}

/// A walk from noise to a picture.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// DDIM.
    Ddim(DdimScheduler),
    /// DPM-Solver++ 2M.
    DpmSolver(DpmSolverScheduler),
}

/// What a multistep method remembers between steps: nothing before the first. Every walk has its own.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    x0: Option<Tensor>,
}

impl Sampler {
    /// The timesteps, falling: what the model is given at each step.
    #[must_use]
    pub fn timesteps(&self) -> &[u32] {
        match self {
            Self::Ddim(ddim) => ddim.timesteps(),
            Self::DpmSolver(solver) => solver.timesteps(),
        }
    }

    /// Whether steps add noise.
    #[must_use]
    pub fn wants_noise(&self) -> bool {
        match self {
            Self::Ddim(ddim) => ddim.wants_noise(),
            Self::DpmSolver(_) => false,
        }
    }

    /// Step number `index`, from 0: the latents of the next timestep, given the model's `output` for these `latents`, and
    /// `noise` when [`Self::wants_noise`]; all of one shape. Steps follow one another, from any of them on, with one
    /// `memory`.
    ///
    /// # Errors
    /// When there is no such step, noise is missing, or of the tensors.
    pub fn step(
        &self,
        output: &Tensor,
        index: usize,
        latents: &Tensor,
        noise: Option<&Tensor>,
        memory: &mut Memory,
    ) -> Result<Tensor> {
        match self {
            Self::Ddim(ddim) => ddim.step(output, index, latents, noise),
            Self::DpmSolver(solver) => {
                let step = solver.step(output, index, latents, memory.x0.as_ref())?;
                memory.x0 = Some(step.x0);
                Ok(step.latents)
            }
        }
    }

    /// `x0` as it is before step number `index` when its noise is `noise`, of the same shape: √ᾱ·x0 + √(1-ᾱ)·ε. After the
    /// last step, where `index` is the number of steps, that is `x0`.
    ///
    /// # Errors
    /// When there is no such step, or of the tensors.
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor> {
        if index == self.timesteps().len() {
            return Ok(x0.clone());
        }
        let (signal, scale) = match self {
            Self::Ddim(ddim) => {
                let (alpha, _) = ddim.alphas(index)?;
                (alpha.sqrt(), (1.0 - alpha).sqrt())
            }
            Self::DpmSolver(solver) => solver.scales(index)?,
        };
        Ok(((x0 * signal)? + (noise * scale)?)?)
    }

    /// The first step that is taken where a picture is noised with `strength` and denoised again (SDEdit, arXiv
    /// 2108.01073; `get_timesteps` of diffusers): that share of all steps is taken, the last ones, rounded down. 0 takes
    /// none, and 1 all.
    ///
    /// # Errors
    /// When `strength` is not 0 to 1.
    pub fn first_step(&self, strength: f64) -> Result<usize> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(EngineError::argument(format!("strength is {strength}: it must be 0 to 1")));
        }
        let n_steps = self.timesteps().len();
        Ok(n_steps - ((n_steps as f64 * strength) as usize).min(n_steps))
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
