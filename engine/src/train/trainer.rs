//! Training variables step by step, with all that is needed to go on: the same for whatever is trained.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use serde::Serialize;

use super::order::batch_rows;
use super::{Accumulator, AdamW, Ema, EncodedTable, Gradients, Progress, ResumePoint, TrainSettings, clip_grad_norm};
use crate::error::{EngineError, Result};
use crate::noise::Noise;
use crate::weights::Weights;

/// A training of some variables. What is trained says what the loss of a batch is.
pub struct Trainer {
    optimizer: AdamW,
    ema: Option<Ema>,
    settings: TrainSettings,
    noise: Noise,
    config_digest: String,
    n_done: u64,
}

/// A training of a model, on rows that were encoded for it.
pub trait Training {
    /// How far it is, and what is saved of it.
    fn trainer(&self) -> &Trainer;

    /// As [`trainer`](Self::trainer), to go on from what was saved.
    fn trainer_mut(&mut self) -> &mut Trainer;

    /// Does the next step.
    ///
    /// # Errors
    /// When a row is damaged, the loss is not a number, or of the tensors.
    fn step(&mut self, table: &EncodedTable) -> Result<StepReport>;
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Which step, from 1.
    pub step: u64,
    /// Mean of the batches' losses.
    pub loss: f64,
    /// Norm of the gradient before it was clipped.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
}

impl Trainer {
    /// Begins a training of `variables` at step 0. `config_digest` is of all that must not change when it goes on: see
    /// [`config_digest`].
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(variables: BTreeMap<String, Var>, settings: &TrainSettings, config_digest: String) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            ema: settings.ema(&variables)?,
            optimizer: settings.optimizer(variables)?,
            noise: Noise::new(settings.seed),
            settings: settings.clone(),
            config_digest,
            n_done: 0,
        })
    }

    /// Steps that are done.
    #[must_use]
    pub fn n_done(&self) -> u64 {
        self.n_done
    }

    /// Steps in all.
    #[must_use]
    pub fn n_steps(&self) -> u64 {
        self.settings.n_steps
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.n_done >= self.settings.n_steps
    }

    /// Does the next step on `n_rows` rows. `loss` is given the rows of a batch and a place for what is drawn for it, and makes
    /// the loss, a scalar in f32. Rows and what is drawn depend on the seed and the step's number alone.
    ///
    /// # Errors
    /// Those of `loss`, when it is not a number, or of the tensors.
    pub fn step(
        &mut self,
        n_rows: usize,
        mut loss: impl FnMut(&[usize], &Noise) -> Result<Tensor>,
    ) -> Result<StepReport> {
        let mut gradients = Accumulator::new();
        let mut losses = 0.0;
        for part in 0..self.settings.n_accumulate {
            let index = self.n_done * self.settings.n_accumulate as u64 + part as u64;
            let rows = batch_rows(index, self.settings.batch_size, n_rows, &self.noise.of("order"));
            let loss = loss(&rows, &self.noise.of("batch").at(index))?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                let step = self.n_done + 1;
                let help = "lower the learning rate or the largest gradient norm, and go on from what was saved";
                return Err(EngineError::argument(format!("the loss of step {step} is {value}: {help}")));
            }
            losses += value;
            gradients.add(Gradients::of(self.optimizer.variables(), &loss.backward()?), 1.0)?;
        }
        let (gradients, gradient_norm) = clip_grad_norm(gradients.take_mean()?, self.settings.max_gradient_norm)?;
        let learning_rate = self.settings.learning_rate.at(self.n_done);
        self.optimizer.step(&gradients, learning_rate)?;
        if let Some(ema) = &mut self.ema {
            ema.step(self.optimizer.variables())?;
        }
        self.n_done += 1;
        let loss = losses / self.settings.n_accumulate as f64;
        Ok(StepReport { step: self.n_done, loss, gradient_norm, learning_rate })
    }

    /// Writes all that is needed to go on to `folder`; what was saved there before is kept until this is whole.
    ///
    /// # Errors
    /// When `folder` holds a later step, or the disk refuses.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let progress = Progress {
            step: self.n_done,
            seed: self.settings.seed,
            learning_rate: self.settings.learning_rate,
            config_digest: self.config_digest.clone(),
        };
        ResumePoint::save(folder, &progress, &self.optimizer, self.ema.as_ref())?;
        Ok(())
    }

    /// Goes on from what is saved in `folder`, if anything is. Returns whether there was.
    ///
    /// # Errors
    /// When it is damaged, or of a training with other settings, data or weights.
    pub fn restore(&mut self, folder: &Path) -> Result<bool> {
        let Some(point) = ResumePoint::last(folder)? else { return Ok(false) };
        let progress = point.restore(&self.config_digest, &mut self.optimizer, self.ema.as_mut())?;
        self.n_done = progress.step;
        Ok(true)
    }

    /// The variables as they are now.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        self.optimizer.variables()
    }

    /// What was trained: the variables as they are now, or their running mean where there is one; on the CPU.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn trained(&self) -> Result<BTreeMap<String, Tensor>> {
        let on_cpu = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(&Device::Cpu)?));
        match &self.ema {
            Some(ema) => ema.averages().iter().map(on_cpu).collect(),
            None => self.variables().iter().map(|(name, var)| on_cpu((name, &var.as_detached_tensor()))).collect(),
        }
    }
}

/// A digest of all that must not change when a training goes on: `facts` (configs, settings, what is trained on), and the
/// weights that it began with.
///
/// # Errors
/// When weights cannot be read.
pub fn config_digest(facts: &impl Serialize, weights: &[&Weights]) -> Result<String> {
    let text = serde_json::to_string(facts)
        .map_err(|error| EngineError::argument(format!("the settings cannot be written: {error}")))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes());
    for weights in weights {
        hasher.update(weights.digest()?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}
