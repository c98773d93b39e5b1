//! Training the UNet by Eq. 3, step by step, with all that is needed to go on.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::order::batch_rows;
use super::{
    Accumulator, AdamW, AdamWConfig, DiffusionDraw, DiffusionSettings, Ema, EmaConfig, EncodedPairs, Gradients,
    Progress, ResumePoint, clip_grad_norm, diffusion_loss,
};
use crate::error::{EngineError, Result};
use crate::noise::{DdpmScheduler, Noise, NoiseConfig};
use crate::unet::{UNet, UNetConfig};
use crate::vae::VaeConfig;
use crate::weights::{Metadata, Weights, save};

/// A training of the UNet.
pub struct DiffusionTrainer {
    unet: UNet,
    start: Weights,
    optimizer: AdamW,
    ema: Option<Ema>,
    scheduler: DdpmScheduler,
    n_train_timesteps: u32,
    vae: VaeConfig,
    settings: DiffusionSettings,
    noise: Noise,
    config_digest: String,
    n_done: u64,
    device: Device,
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

/// The parts of the family that a training takes.
pub struct DiffusionParts {
    /// The UNet's config, with CAFE's conditions.
    pub unet: UNetConfig,
    /// Its weights at the beginning.
    pub weights: Weights,
    /// The noise schedule.
    pub noise: NoiseConfig,
    /// How latents are scaled.
    pub vae: VaeConfig,
}

impl DiffusionTrainer {
    /// Begins a training at step 0.
    ///
    /// # Errors
    /// When the UNet has no conditions of CAFE, weights do not fit it, or a setting is out of range.
    pub fn new(parts: DiffusionParts, settings: DiffusionSettings, device: &Device) -> Result<Self> {
        if parts.unet.cafe.is_none() {
            return Err(EngineError::argument(
                "the UNet has no conditions of CAFE: make one of the base model's first",
            ));
        }
        if settings.batch_size == 0 || settings.n_accumulate == 0 {
            return Err(EngineError::argument("batch_size and n_accumulate must be at least 1"));
        }
        settings.learning_rate.check()?;
        let config_digest = config_digest(&parts, &settings)?;
        let (unet, variables) = UNet::for_training(parts.unet, &parts.weights, settings.trainable, device)?;
        let variables = variables.all();
        let ema = if settings.ema_decay > 0.0 {
            Some(Ema::new(&variables, EmaConfig { decay: settings.ema_decay, ..EmaConfig::default() })?)
        } else {
            None
        };
        let config = AdamWConfig { weight_decay: settings.weight_decay, ..AdamWConfig::default() };
        Ok(Self {
            unet,
            start: parts.weights,
            optimizer: AdamW::new(variables, config)?,
            ema,
            scheduler: DdpmScheduler::new(&parts.noise)?,
            n_train_timesteps: parts.noise.num_train_timesteps,
            vae: parts.vae,
            noise: Noise::new(settings.seed),
            config_digest,
            settings,
            n_done: 0,
            device: device.clone(),
        })
    }

    /// Steps that are done.
    #[must_use]
    pub fn n_done(&self) -> u64 {
        self.n_done
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.n_done >= self.settings.n_steps
    }

    /// Does the next step on `pairs`. What is drawn depends on the seed and the step's number alone.
    ///
    /// # Errors
    /// When a pair is damaged, the loss is not a number, or of the tensors.
    pub fn step(&mut self, pairs: &EncodedPairs) -> Result<StepReport> {
        let mut gradients = Accumulator::new();
        let mut losses = 0.0;
        for part in 0..self.settings.n_accumulate {
            let index = self.n_done * self.settings.n_accumulate as u64 + part as u64;
            let (loss, part) = self.gradients(index, pairs)?;
            losses += loss;
            gradients.add(part, 1.0)?;
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

    /// Loss and gradients of batch `index`.
    fn gradients(&self, index: u64, pairs: &EncodedPairs) -> Result<(f64, Gradients)> {
        let rows = batch_rows(index, self.settings.batch_size, pairs.n_rows(), &self.noise.of("order"));
        let noise = self.noise.of("batch").at(index);
        let batch = pairs.batch(&rows, &self.vae, &noise.of("latents"), &self.device)?;
        let drop = self.settings.drop_probability;
        let draw = DiffusionDraw::new(batch.latents.dims(), self.n_train_timesteps, drop, &noise, &self.device)?;
        let loss = diffusion_loss(&self.unet, &self.scheduler, &batch, &draw)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            let step = self.n_done + 1;
            let help = "lower the learning rate or the largest gradient norm, and go on from what was saved";
            return Err(EngineError::argument(format!("the loss of step {step} is {value}: {help}")));
        }
        Ok((value, Gradients::of(self.optimizer.variables(), &loss.backward()?)))
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

    /// The weights as they are now, or their running mean where there is one; what is frozen with them.
    ///
    /// # Errors
    /// When what is frozen cannot be read.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        let trained: BTreeMap<String, Tensor> = match &self.ema {
            Some(ema) => ema.averages().clone(),
            None => {
                self.optimizer.variables().iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
            }
        };
        let mut all = BTreeMap::new();
        for name in self.start.names() {
            let tensor = match trained.get(&name) {
                Some(tensor) => tensor.clone(),
                None => self.start.tensor(&name)?,
            };
            all.insert(name, tensor.to_device(&Device::Cpu)?);
        }
        Ok(all)
    }

    /// Writes the UNet to `folder`, in the layout it is loaded from, with how it was made in the metadata.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn export(&self, folder: &Path, facts: &Metadata) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::io(folder, error))?;
        let mut metadata = facts.clone();
        for (key, value) in [
            ("format", "pt".to_owned()),
            ("trainable", self.settings.trainable.name().to_owned()),
            ("n_steps", self.n_done.to_string()),
            // The convention of Equations 2 to 4: CLIP embeddings as the projection gives them.
            ("clip_embedding", "raw".to_owned()),
        ] {
            metadata.insert(key.to_owned(), value);
        }
        let config = serde_json::to_vec_pretty(self.unet.config())
            .map_err(|error| EngineError::argument(format!("the config cannot be written: {error}")))?;
        let path = folder.join("config.json");
        std::fs::write(&path, config).map_err(|error| EngineError::io(path, error))?;
        Ok(save(&self.weights()?, &metadata, &folder.join("diffusion_pytorch_model.safetensors"))?)
    }
}

/// Of all that must not change when a training goes on.
fn config_digest(parts: &DiffusionParts, settings: &DiffusionSettings) -> Result<String> {
    let text = serde_json::to_string(&(&parts.unet, &parts.noise, settings))
        .map_err(|error| EngineError::argument(format!("the settings cannot be written: {error}")))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes()).update(parts.weights.digest()?.as_bytes());
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
