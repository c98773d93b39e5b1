//! Training the UNet by Eq. 3.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::trainer::config_digest;
use super::{
    DiffusionBatch, DiffusionDraw, DiffusionSettings, EncodedTable, StepReport, Trainer, Training, diffusion_loss,
};
use crate::error::{EngineError, Result};
use crate::noise::{DdpmScheduler, NoiseConfig};
use crate::unet::{UNet, UNetConfig};
use crate::vae::VaeConfig;
use crate::weights::{Metadata, Weights, save_pretrained};

/// A training of the UNet.
pub struct DiffusionTrainer {
    trainer: Trainer,
    unet: UNet,
    start: Weights,
    scheduler: DdpmScheduler,
    n_train_timesteps: u32,
    vae: VaeConfig,
    settings: DiffusionSettings,
    device: Device,
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
        let digest = config_digest(&(&parts.unet, &parts.noise, &settings), &[&parts.weights])?;
        let (unet, variables) = UNet::for_training(parts.unet, &parts.weights, settings.trainable, device)?;
        Ok(Self {
            trainer: Trainer::new(variables.all(), &settings.train, digest)?,
            unet,
            start: parts.weights,
            scheduler: DdpmScheduler::new(&parts.noise)?,
            n_train_timesteps: parts.noise.num_train_timesteps,
            vae: parts.vae,
            settings,
            device: device.clone(),
        })
    }

    /// The weights as they are now, or their running mean where there is one; what is frozen with them.
    ///
    /// # Errors
    /// When what is frozen cannot be read.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut all = self.trainer.trained()?;
        for name in self.start.names() {
            if let Entry::Vacant(place) = all.entry(name) {
                let frozen = self.start.tensor(place.key())?.to_device(&Device::Cpu)?;
                place.insert(frozen);
            }
        }
        Ok(all)
    }

    /// Writes the UNet to `folder`, in the layout it is loaded from, with how it was made in the metadata.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn export(&self, folder: &Path, facts: &Metadata) -> Result<()> {
        let mut metadata = facts.clone();
        for (key, value) in [
            ("trainable", self.settings.trainable.name().to_owned()),
            ("n_steps", self.trainer.n_done().to_string()),
            // The convention of Equations 2 to 4: CLIP embeddings as the projection gives them.
            ("clip_embedding", "raw".to_owned()),
        ] {
            metadata.insert(key.to_owned(), value);
        }
        let weights = ("diffusion_pytorch_model.safetensors", &self.weights()?);
        Ok(save_pretrained(folder, self.unet.config(), weights, &metadata)?)
    }
}

impl Training for DiffusionTrainer {
    fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    fn trainer_mut(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// On pairs: see [`DiffusionBatch::encode`].
    fn step(&mut self, pairs: &EncodedTable) -> Result<StepReport> {
        let (unet, scheduler, device) = (&self.unet, &self.scheduler, &self.device);
        let (vae, n_timesteps, drop) = (&self.vae, self.n_train_timesteps, self.settings.drop_probability);
        let min_snr_gamma = self.settings.min_snr_gamma;
        self.trainer.step(pairs.n_rows(), |rows, noise| {
            let batch = DiffusionBatch::read(pairs, rows, vae, &noise.of("latents"), device)?;
            let draw = DiffusionDraw::new(batch.latents.dims(), n_timesteps, drop, noise, device)?;
            diffusion_loss(unet, scheduler, &batch, &draw, min_snr_gamma)
        })
    }
}

#[cfg(test)]
#[path = "diffusion_trainer_tests.rs"]
mod tests;
