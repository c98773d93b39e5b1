//! S* in a prompt: it takes the place of a word.

use candle_core::{Device, Result as TensorResult, Tensor};

use crate::encoder::text::{Layer, TextEncoder};
use crate::encoder::tokenizer::TextTokenizer;
use crate::error::{EngineError, Result};

/// The word that stands for the subject in prompts, as in ProFusion.
pub const HOLDER: &str = "holder";

/// The text encoder of the base model, and its tokenizer.
#[derive(Clone, Debug)]
pub struct SubjectText {
    tokenizer: TextTokenizer,
    encoder: TextEncoder,
    layer: Layer,
    holder: u32,
    device: Device,
}

/// A prompt with a slot for S*.
#[derive(Clone, Debug)]
pub struct SubjectPrompt {
    /// Embeddings with positions of what stands before the slot, (1, slot, D).
    before: Tensor,
    /// And of what stands behind it.
    after: Tensor,
    slot: usize,
    /// T: of a padded prompt the longest there is.
    n_tokens: usize,
}

impl SubjectText {
    /// `layer` is after which block states are taken: see [`TextStates`](super::TextStates).
    ///
    /// # Errors
    /// When the tokenizer does not have [`HOLDER`] as one token.
    pub fn new(tokenizer: TextTokenizer, encoder: TextEncoder, layer: Layer, device: &Device) -> Result<Self> {
        let ids = tokenizer.ids(HOLDER)?;
        let [_, holder, _] = ids.as_slice() else {
            return Err(EngineError::argument(format!(
                "the tokenizer makes {} tokens of `{HOLDER}`: it must be one, whose place S* takes",
                ids.len().saturating_sub(2)
            )));
        };
        let holder = *holder;
        Ok(Self { tokenizer, encoder, layer, holder, device: device.clone() })
    }

    /// The text encoder.
    #[must_use]
    pub fn encoder(&self) -> &TextEncoder {
        &self.encoder
    }

    /// `text` with [`HOLDER`] in it once; padded to the tokenizer's length for sampling, not padded for training, as
    /// ProFusion does.
    ///
    /// # Errors
    /// When the word is not in the text, is there twice, or too far behind.
    pub fn prompt(&self, text: &str, is_padded: bool) -> Result<SubjectPrompt> {
        let ids = if is_padded {
            self.tokenizer.encode(&[text], &self.device)?
        } else {
            let ids = self.tokenizer.ids(text)?;
            let n_tokens = ids.len();
            Tensor::from_vec(ids, (1, n_tokens), &self.device)?
        };
        let tokens = ids.flatten_all()?.to_vec1::<u32>()?;
        let mut places = tokens.iter().enumerate().filter(|(_, id)| **id == self.holder).map(|(place, _)| place);
        let (Some(slot), None) = (places.next(), places.next()) else {
            return Err(EngineError::argument(format!(
                "the prompt `{text}` must have the word `{HOLDER}` in it once, and not behind the last token that is read"
            )));
        };
        let (n_tokens, behind) = (tokens.len(), tokens.len() - slot - 1);
        let embeddings = self.encoder.embeddings(&ids)?; // (1, T, D)
        let (before, after) = (embeddings.narrow(1, 0, slot)?, embeddings.narrow(1, slot + 1, behind)?);
        Ok(SubjectPrompt { before, after, slot, n_tokens })
    }

    /// The ids of training's prompt, in words: what a tuning depends on of the tokenizer.
    pub(super) fn training_ids(&self) -> Result<String> {
        Ok(format!("{:?}", self.tokenizer.ids(super::TRAINING_PROMPT)?))
    }

    /// States of a text without a subject, padded: (1, T, D).
    ///
    /// # Errors
    /// Of the tensors.
    pub fn states(&self, text: &str) -> Result<Tensor> {
        let embeddings = self.encoder.embeddings(&self.tokenizer.encode(&[text], &self.device)?)?;
        Ok(self.encoder.forward_embeddings(&embeddings, self.layer)?)
    }

    /// States (B, T, D) of `prompt` with `subject`, S* (B, 1, D), in its slot, to which no position is added. What comes out
    /// at the slot is multiplied by `gamma`: 1 but in fusion steps. Differentiable.
    ///
    /// # Errors
    /// When the width of S* is another, or of the tensors.
    pub fn inject(&self, prompt: &SubjectPrompt, subject: &Tensor, gamma: f64) -> TensorResult<Tensor> {
        let (batch, n_tokens, width) = subject.dims3()?;
        if (n_tokens, width) != (1, prompt.before.dim(2)?) {
            candle_core::bail!(
                "S* has shape {:?}: ({batch}, 1, {}) is what the text encoder takes",
                subject.dims(),
                prompt.before.dim(2)?
            );
        }
        let repeated = |part: &Tensor| part.broadcast_as((batch, part.dim(1)?, width))?.contiguous();
        let embeddings = Tensor::cat(&[&repeated(&prompt.before)?, subject, &repeated(&prompt.after)?], 1)?; // (B, T, D)
        let states = self.encoder.forward_embeddings(&embeddings, self.layer)?;
        if gamma == 1.0 {
            return Ok(states);
        }
        let scales: Vec<f32> =
            (0..prompt.n_tokens).map(|place| if place == prompt.slot { gamma as f32 } else { 1.0 }).collect();
        states.broadcast_mul(&Tensor::from_vec(scales, (1, prompt.n_tokens, 1), states.device())?)
    }
}
