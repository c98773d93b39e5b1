//! Training V, H and the learnable token by Eq. 2.

use std::path::Path;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::adapter::Adapter;
use super::config::{AdapterConfig, Distance};
use super::loss::{DialogueBatch, assistant_loss};
use super::model::{Assistant, Base};
use super::prompt::Dialogue;
use crate::error::{EngineError, Result};
use crate::train::{EncodedTable, StepReport, TrainSettings, Trainer, Training, config_digest};
use crate::weights::{Metadata, Weights};

/// The settings of a training of the assistant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssistantSettings {
    /// What every training is told.
    #[serde(flatten)]
    pub train: TrainSettings,
    /// λ of Eq. 2.
    pub condition_weight: f64,
}

/// A training of the assistant.
pub struct AssistantTrainer {
    trainer: Trainer,
    assistant: Assistant,
    dialogues: Vec<Dialogue>,
    settings: AssistantSettings,
    device: Device,
}

impl AssistantTrainer {
    /// Begins a training at step 0, of the adapter `weights`, on conversations and replies: as many, in the same order, as there
    /// will be rows of pictures. `conversations` make each of its own, given how the assistant takes texts apart.
    ///
    /// # Errors
    /// When the adapter is of another language model, a conversation cannot be put into the chat template, or a setting is out of
    /// range.
    pub fn new(
        base: Base,
        (config, weights): (AdapterConfig, &Weights),
        conversations: impl FnOnce(&Assistant) -> Result<Vec<Dialogue>>,
        settings: AssistantSettings,
    ) -> Result<Self> {
        let device = base.llama.device().clone();
        if config.distance == Distance::Cosine && config.condition_norm.is_none() {
            return Err(EngineError::argument(
                "a cosine leaves the length of H(s) open: the config must say it, as `condition_norm`",
            ));
        }
        let (adapter, variables) = Adapter::for_training(config.clone(), weights, &device)?;
        let assistant = Assistant::new(adapter, base, weights.file())?;
        let dialogues = conversations(&assistant)?;
        let texts: Vec<_> =
            dialogues.iter().map(|said| (&said.prompt.before, &said.prompt.after, &said.reply)).collect();
        let digest = config_digest(&(&config, &settings, &texts), &[weights])?;
        let trainer = Trainer::new(variables.all(), &settings.train, digest)?;
        Ok(Self { trainer, assistant, dialogues, settings, device })
    }

    /// Writes the adapter to `folder`, in the layout it is loaded from, with how it was made in the metadata.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn export(&self, folder: &Path, facts: &Metadata) -> Result<()> {
        let mut metadata = facts.clone();
        for (key, value) in [
            ("n_steps", self.trainer.n_done().to_string()),
            ("condition_weight", self.settings.condition_weight.to_string()),
            // The convention of Equations 2 to 4: CLIP embeddings as the projection gives them.
            ("clip_embedding", "raw".to_owned()),
        ] {
            metadata.insert(key.to_owned(), value);
        }
        Adapter::save(self.assistant.config(), &self.trainer.trained()?, &metadata, folder)
    }
}

impl Training for AssistantTrainer {
    fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    fn trainer_mut(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    fn step(&mut self, table: &EncodedTable) -> Result<StepReport> {
        if table.n_rows() != self.dialogues.len() {
            let (n_pictures, n_dialogues) = (table.n_rows(), self.dialogues.len());
            return Err(EngineError::argument(format!(
                "{n_pictures} rows of pictures and {n_dialogues} conversations"
            )));
        }
        let (assistant, weight) = (&self.assistant, self.settings.condition_weight);
        let (dialogues, device) = (&self.dialogues, &self.device);
        self.trainer.step(table.n_rows(), |rows, _| {
            let batch = DialogueBatch::read(table, dialogues, rows, device)?;
            Ok(assistant_loss(assistant, &batch, weight)?.total)
        })
    }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
