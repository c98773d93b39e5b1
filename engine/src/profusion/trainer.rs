//! Pre-training of PromptNet: the noise in a picture is to be predicted with S* of the same picture. All else is frozen.

use std::path::Path;

use candle_core::Device;

use super::base::{ProFusionFolders, load_text};
use super::config::PromptNetConfig;
use super::loss::{SubjectBatch, SubjectDraw, SubjectModels, TRAINING_PROMPT, subject_loss};
use super::promptnet::PromptNet;
use super::text::{SubjectPrompt, SubjectText};
use crate::error::Result;
use crate::noise::{DdpmScheduler, Noise, SamplerConfig};
use crate::train::{EncodedTable, StepReport, TrainSettings, Trainer, Training, config_digest};
use crate::unet::{UNet, UNetConfig};
use crate::vae::{LatentDistribution, VaeConfig};
use crate::weights::{Metadata, Weights, save_pretrained};

/// A pre-training of PromptNet.
pub struct PromptNetTrainer {
    trainer: Trainer,
    promptnet: PromptNet,
    frozen: Frozen,
    device: Device,
}

/// What is not trained.
struct Frozen {
    unet: UNet,
    text: SubjectText,
    prompt: SubjectPrompt,
    scheduler: DdpmScheduler,
    n_timesteps: u32,
    vae: VaeConfig,
}

impl PromptNetTrainer {
    /// Begins a training at step 0, of a PromptNet of `config` and `weights`, on the base model of `folders`.
    ///
    /// # Errors
    /// When a model is missing, they do not fit each other, or a setting is out of range.
    pub fn new(
        folders: &ProFusionFolders,
        (config, weights): (PromptNetConfig, &Weights),
        settings: &TrainSettings,
        device: &Device,
    ) -> Result<Self> {
        let base = &folders.base;
        let text = load_text(folders, &config, device)?;
        let noise = SamplerConfig::read(&base.join("scheduler").join("scheduler_config.json"))?.noise;
        let unet_config = UNetConfig::read(&base.join("unet").join("config.json"))?;
        folders.must_be(&config.fits(&unet_config))?;
        let unet_weights = Weights::open(&base.join("unet"))?;
        let text_weights = Weights::open(&base.join("text_encoder"))?;
        let facts = (&config, &unet_config, &noise, settings);
        let digest = config_digest(&facts, &[weights, &unet_weights, &text_weights])?;
        let (promptnet, variables) = PromptNet::for_training(config, weights, device)?;
        let frozen = Frozen {
            unet: UNet::from_weights(unet_config, &unet_weights, device)?,
            prompt: text.prompt(TRAINING_PROMPT, false)?,
            text,
            scheduler: DdpmScheduler::new(&noise)?,
            n_timesteps: noise.num_train_timesteps,
            vae: VaeConfig::load(&base.join("vae"))?,
        };
        let trainer = Trainer::new(variables.all(), settings, digest)?;
        Ok(Self { trainer, promptnet, frozen, device: device.clone() })
    }

    /// Writes PromptNet to `folder`, in the layout it is loaded from, with how it was made in the metadata.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn export(&self, folder: &Path, facts: &Metadata) -> Result<()> {
        let mut metadata = facts.clone();
        metadata.insert("n_steps".to_owned(), self.trainer.n_done().to_string());
        let weights = ("diffusion_pytorch_model.safetensors", &self.trainer.trained()?);
        Ok(save_pretrained(folder, self.promptnet.config(), weights, &metadata)?)
    }
}

impl Training for PromptNetTrainer {
    fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    fn trainer_mut(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// On pictures: see [`SubjectEncoder::encode`](super::SubjectEncoder::encode).
    fn step(&mut self, pictures: &EncodedTable) -> Result<StepReport> {
        let (frozen, promptnet, device) = (&self.frozen, &self.promptnet, &self.device);
        let models = SubjectModels { promptnet, unet: &frozen.unet, text: &frozen.text, scheduler: &frozen.scheduler };
        self.trainer.step(pictures.n_rows(), |rows, noise| {
            let batch = frozen.batch(pictures, rows, &noise.of("latents"), device)?;
            let draw = SubjectDraw::new(batch.target.dims(), frozen.n_timesteps, noise, device)?;
            subject_loss(models, &frozen.prompt, &batch, &draw)
        })
    }
}

impl Frozen {
    /// Target and reference are one picture: its latents drawn for the one, at their mode for the other, as in sampling.
    fn batch(&self, pictures: &EncodedTable, rows: &[usize], noise: &Noise, device: &Device) -> Result<SubjectBatch> {
        let stack = |name: &str| pictures.stack(rows, name, device);
        let latents = LatentDistribution { mean: stack("latent_mean")?, log_variance: stack("latent_log_variance")? };
        let drawn = noise.normal(latents.mean.shape().clone(), device)?;
        Ok(SubjectBatch {
            reference: self.vae.scale_latents(latents.mode())?,
            vision: stack("vision")?,
            target: self.vae.scale_latents(&latents.sample(&drawn)?)?,
        })
    }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
