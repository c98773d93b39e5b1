//! The models that ProFusion is made of: where they are, and what tells them from others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use candle_core::Device;

use super::config::PromptNetConfig;
use super::engine::ProFusionEngine;
use super::text::SubjectText;
use crate::encoder::text::TextEncoder;
use crate::encoder::tokenizer::TextTokenizer;
use crate::error::{EngineError, Result};
use crate::weights::Weights;

/// Where the models of ProFusion are.
#[derive(Clone, Debug)]
pub struct ProFusionFolders {
    /// The base model in the layout of diffusers: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler`.
    pub base: PathBuf,
    /// PromptNet's config and weights.
    pub promptnet: PathBuf,
    /// The CLIP whose image tower's tokens PromptNet attends to, with its `preprocessor_config.json`.
    pub image_encoder: PathBuf,
}

impl ProFusionFolders {
    /// All in one folder: the base model, `promptnet` and `image_encoder`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { base: folder.into(), promptnet: folder.join("promptnet"), image_encoder: folder.join("image_encoder") }
    }

    /// Checks that what PromptNet's config says of another part is what that part has: key, its value, part, what that has.
    pub(super) fn must_be(&self, pairs: &[(&str, usize, &str, usize)]) -> Result<()> {
        match pairs.iter().find(|(_, wanted, _, made)| wanted != made) {
            None => Ok(()),
            Some((key, wanted, part, made)) => {
                let message = format!("{key} is {wanted}, and {part} {made}: they are not of one model");
                Err(EngineError::config(self.promptnet.join("config.json"), message))
            }
        }
    }
}

/// The base model's text encoder, with a slot for the S* of a PromptNet of `config`.
pub(super) fn load_text(folders: &ProFusionFolders, config: &PromptNetConfig, device: &Device) -> Result<SubjectText> {
    let encoder = TextEncoder::load(&folders.base.join("text_encoder"), device)?;
    let width = encoder.config().hidden_size;
    folders.must_be(&[("prompt_channel", config.prompt_channel, "the text encoder takes", width)])?;
    let tokenizer = TextTokenizer::load(&folders.base.join("tokenizer"))?;
    SubjectText::new(tokenizer, encoder, config.text_states.into(), device)
}

impl ProFusionEngine {
    /// What tells these models from others, by part.
    pub(super) fn digests(&self) -> Result<BTreeMap<String, String>> {
        let mut kept = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digests) = &*kept {
            return Ok(digests.clone());
        }
        let base = &self.folders.base;
        let mut digests = BTreeMap::from([
            ("promptnet".to_owned(), self.promptnet.1.digest()?),
            ("unet".to_owned(), self.unet.1.digest()?),
            ("text_encoder".to_owned(), Weights::open(&base.join("text_encoder"))?.digest()?),
            ("vae".to_owned(), Weights::open(&base.join("vae"))?.digest()?),
            ("image_encoder".to_owned(), Weights::open(&self.folders.image_encoder)?.digest()?),
            ("processor".to_owned(), format!("{:?}", self.encoder.processor)),
            ("noise".to_owned(), format!("{:?}", self.noise)),
        ]);
        for (name, path) in [
            ("promptnet config", self.folders.promptnet.join("config.json")),
            ("unet config", base.join("unet").join("config.json")),
            ("text_encoder config", base.join("text_encoder").join("config.json")),
            ("vae config", base.join("vae").join("config.json")),
            ("image_encoder config", self.folders.image_encoder.join("config.json")),
        ] {
            let text = std::fs::read(&path).map_err(|error| EngineError::io(path, error))?;
            digests.insert(name.to_owned(), blake3::hash(&text).to_hex().to_string());
        }
        digests.insert("prompt".to_owned(), self.text.training_ids()?);
        *kept = Some(digests.clone());
        Ok(digests)
    }
}
