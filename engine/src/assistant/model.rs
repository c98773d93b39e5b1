//! M: the language model, with what joins it to pictures.

use std::path::Path;

use candle_core::{Device, Result as TensorResult, Tensor};

use super::adapter::Adapter;
use super::config::{AdapterConfig, TokenAfter};
use super::prompt::{Dialogue, Prompt};
use crate::error::{EngineError, Result};
use crate::language::{ChatTokenizer, Llama, LlamaConfig, Message};
use crate::weights::Weights;

/// A frozen Llama, its tokenizer, and an [`Adapter`].
#[derive(Clone, Debug)]
pub struct Assistant {
    pub(super) llama: Llama,
    pub(super) tokenizer: ChatTokenizer,
    pub(super) adapter: Adapter,
    /// What ends a turn of the assistant's.
    pub(super) end: u32,
}

/// A language model that was loaded, and the digest of its weights, by which adapters know it.
#[derive(Clone, Debug)]
pub struct Base {
    /// The model.
    pub llama: Llama,
    /// Its tokenizer.
    pub tokenizer: ChatTokenizer,
    /// Of its weights: [`Weights::digest`].
    pub digest: String,
}

impl Base {
    /// Loads a Llama in Hugging Face layout: `config.json`, weights, `tokenizer.json`, and a chat template.
    ///
    /// # Errors
    /// When one is missing, or they do not fit each other.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let weights = Weights::open(folder)?;
        let llama = Llama::from_weights(LlamaConfig::read(&path)?, &weights, device, &path)?;
        Ok(Self { llama, tokenizer: ChatTokenizer::load(folder)?, digest: weights.digest()? })
    }

    /// The spread of its embeddings: a learnable token that begins so is one among them.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn embedding_std(&self) -> Result<f64> {
        // A sample is enough: the vocabulary has up to hundreds of thousands.
        let n_words = u32::try_from(self.llama.config().vocab_size.min(1024)).unwrap_or(1);
        let table = self.llama.embed(&(0..n_words).collect::<Vec<u32>>())?;
        Ok(f64::from(table.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?))
    }
}

impl Assistant {
    /// Loads the adapter in `folder`, and joins it to `base`.
    ///
    /// # Errors
    /// When the adapter is missing or damaged, or was trained with another language model.
    pub fn load(folder: &Path, base: Base) -> Result<Self> {
        let adapter = Adapter::load(folder, base.llama.device())?;
        Self::new(adapter, base, &folder.join("config.json"))
    }

    /// Joins `adapter`, whose config is `path`, to `base`.
    ///
    /// # Errors
    /// When the adapter is of another language model, or that one's chat template is not one of a conversation.
    pub fn new(adapter: Adapter, base: Base, path: &Path) -> Result<Self> {
        let (config, width) = (adapter.config(), base.llama.config().hidden_size);
        if config.base_digest != base.digest {
            let message = format!(
                "key `base_digest` is {}, and the language model's weights have {}: projections work only with the model \
                 that they were trained with. Name that one, or train new ones for this one with `train mllm`",
                config.base_digest, base.digest
            );
            return Err(EngineError::config(path, message));
        }
        if config.hidden_size != width {
            let message = format!("key `hidden_size` is {}, and the language model has {width}", config.hidden_size);
            return Err(EngineError::config(path, message));
        }
        let nothing = Dialogue::new(&base.tokenizer, &[Message::new("user", "")], "")?;
        let end = nothing.reply.last().copied().unwrap_or_default();
        Ok(Self { llama: base.llama, tokenizer: base.tokenizer, adapter, end })
    }

    /// What V, H and the token are made for.
    #[must_use]
    pub fn config(&self) -> &AdapterConfig {
        self.adapter.config()
    }

    /// A conversation, as it is read: the system's words before it, where the adapter was trained with some and the
    /// conversation has none of its own.
    ///
    /// # Errors
    /// As of [`Prompt::new`].
    pub fn prompt(&self, conversation: &[Message]) -> Result<Prompt> {
        Prompt::new(&self.tokenizer, &self.with_system(conversation))
    }

    /// A conversation and the reply to it, as they are trained on.
    ///
    /// # Errors
    /// As of [`Dialogue::new`].
    pub fn dialogue(&self, conversation: &[Message], reply: &str) -> Result<Dialogue> {
        Dialogue::new(&self.tokenizer, &self.with_system(conversation), reply)
    }

    /// Checks that a conversation with a picture of `n_image_tokens`, its reply and the learnable token can be read.
    ///
    /// # Errors
    /// When it is longer than the language model's positions.
    pub fn check_length(&self, dialogue: &Dialogue, n_image_tokens: usize) -> Result<()> {
        let n_tokens = dialogue.prompt.n_tokens(n_image_tokens) + dialogue.reply.len() + 1;
        let n_positions = self.llama.config().max_position_embeddings;
        if n_tokens <= n_positions {
            return Ok(());
        }
        Err(EngineError::argument(format!(
            "{n_tokens} tokens with its picture: the language model reads {n_positions}"
        )))
    }

    fn with_system(&self, conversation: &[Message]) -> Vec<Message> {
        let has_own = conversation.first().is_none_or(|message| message.role == "system");
        let system = self.config().system.as_ref().filter(|_| !has_own);
        let system = system.map(|text| Message::new("system", text.as_str()));
        system.into_iter().chain(conversation.iter().cloned()).collect()
    }

    /// Embeddings of a prompt, (T, C), and of the learnable token after it where it stands there: `image` (N, C) are the
    /// picture's tokens. Differentiable in the image's tokens and the learnable one.
    pub(super) fn embed_prompt(&self, prompt: &Prompt, image: &Tensor) -> TensorResult<Tensor> {
        let mut parts = Vec::with_capacity(4);
        if !prompt.before.is_empty() {
            parts.push(self.llama.embed(&prompt.before)?);
        }
        parts.push(image.clone());
        if !prompt.after.is_empty() {
            parts.push(self.llama.embed(&prompt.after)?);
        }
        if self.config().token_after == TokenAfter::Prompt {
            parts.push(self.adapter.token().unsqueeze(0)?);
        }
        Tensor::cat(&parts, 0)
    }
}
