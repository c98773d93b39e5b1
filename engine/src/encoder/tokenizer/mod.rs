//! Texts to ids, as `CLIPTokenizer` of HF transformers makes them.

mod bpe;
mod special;

use std::path::Path;

use candle_core::{Device, Tensor};
use tokenizers::Tokenizer;

use crate::{EngineError, Result};

/// The tokenizer of CLIP and of Stable Diffusion's text encoder.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    length: usize,
    start: u32,
    end: u32,
    padding: u32,
}

impl TextTokenizer {
    /// Loads a folder with `tokenizer.json`, or `vocab.json` and `merges.txt`. Special tokens and the length are those of
    /// `tokenizer_config.json` and `special_tokens_map.json`, or CLIP's.
    ///
    /// # Errors
    /// When a file is missing or wrong, or a special token is not in the vocabulary.
    pub fn load(folder: &Path) -> Result<Self> {
        let special = special::read(folder)?;
        let whole = folder.join("tokenizer.json");
        let (mut inner, path) = if whole.is_file() {
            (bpe::open(&whole)?, whole)
        } else {
            let vocabulary = folder.join("vocab.json");
            (bpe::build(&vocabulary, &folder.join("merges.txt"), &special.unknown.content)?, vocabulary)
        };
        let id = |token: &str| {
            let id = inner.token_to_id(token);
            id.ok_or_else(|| {
                EngineError::config(&path, format!("the special token `{token}` is not in the vocabulary"))
            })
        };
        let (start, end) = (id(&special.start.content)?, id(&special.end.content)?);
        let (padding, length) = (id(&special.padding.content)?, special.length);
        special.register(&mut inner, &path)?;
        Ok(Self { inner, length, start, end, padding })
    }

    /// How many ids a padded text has: 77.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The ids of one text: start, tokens, end; not padded. A text that is too long loses its last tokens, not its end.
    ///
    /// # Errors
    /// When the text cannot be taken apart.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = self.inner.encode_fast(text, false).map_err(|error| EngineError::argument(error.to_string()))?;
        let tokens = encoded.get_ids().iter().copied().take(self.length.saturating_sub(2));
        Ok(std::iter::once(self.start).chain(tokens).chain(std::iter::once(self.end)).collect())
    }

    /// The ids of texts, each padded to [`length`](Self::length): (B, 77) of u32.
    ///
    /// # Errors
    /// When there is no text, or of the tensors.
    pub fn encode(&self, texts: &[impl AsRef<str>], device: &Device) -> Result<Tensor> {
        if texts.is_empty() {
            return Err(EngineError::argument("no text to encode"));
        }
        let mut all = Vec::with_capacity(texts.len() * self.length);
        for (row, text) in texts.iter().enumerate() {
            all.extend(self.ids(text.as_ref())?);
            all.resize((row + 1) * self.length, self.padding);
        }
        Ok(Tensor::from_vec(all, (texts.len(), self.length), device)?)
    }
}

#[cfg(test)]
mod tests;
