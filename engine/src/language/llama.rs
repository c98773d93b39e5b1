//! Llama (arXiv 2302.13971, 2307.09288; `LlamaForCausalLM` of HF transformers), frozen, with gradients of what enters it.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor, bail};

use super::block::Block;
use super::config::LlamaConfig;
use crate::op::{Frozen, Rope, rms_norm};
use crate::weights::{Weights, WeightsError};

/// Added to the scores of what a token must not see: no infinity, so that a token that may see nothing stays finite.
const HIDDEN: f32 = -1e30;

/// A Llama. Its weights are frozen, and shared by clones.
#[derive(Clone, Debug)]
pub struct Llama {
    pub(super) config: LlamaConfig,
    pub(super) device: Device,
    table: Frozen,
    /// None where the table is the head too.
    head: Option<Frozen>,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Tensor,
    pub(super) rope: Rope,
}

impl Llama {
    /// Loads the folder's `config.json` and weights. Weights in f16 or bf16 stay so on the CPU; everything is computed in f32.
    ///
    /// # Errors
    /// When the config is wrong, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device) -> crate::Result<Self> {
        let path = folder.join("config.json");
        let config = LlamaConfig::read(&path)?;
        Self::from_weights(config, &Weights::open(folder)?, device, &path)
    }

    /// Of `weights` with the names of HF's `LlamaForCausalLM`. `path` names the config in messages.
    ///
    /// # Errors
    /// When the weights do not fit the config.
    pub fn from_weights(config: LlamaConfig, weights: &Weights, device: &Device, path: &Path) -> crate::Result<Self> {
        config.check(path)?;
        let source = Source { weights, device, config: path.to_owned() };
        let width = config.hidden_size;
        let table = source.matrix(&[("model.embed_tokens", config.vocab_size)], width)?;
        // Old files of models with tied weights hold the head all the same.
        let head = match config.tie_word_embeddings {
            true => None,
            false => Some(source.matrix(&[("lm_head", config.vocab_size)], width)?),
        };
        let blocks = (0..config.num_hidden_layers)
            .map(|index| Block::new(&config, index, &source))
            .collect::<crate::Result<_>>()?;
        let n_layers = config.num_hidden_layers;
        if let Some(name) = weights.unused().into_iter().find(|name| {
            let index =
                name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            index.is_some_and(|index| index >= n_layers)
        }) {
            let message =
                format!("key `num_hidden_layers` is {n_layers}, but {} also holds `{name}`", weights.file().display());
            return Err(crate::EngineError::config(path, message));
        }
        let norm = source.vector("model.norm", width)?;
        let rope = config.rope(path)?;
        Ok(Self { device: device.clone(), table, head, blocks, norm, rope, config })
    }

    /// What the config says.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Where its weights are.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What `ids` stand for: (T, C), f32.
    ///
    /// # Errors
    /// When there are none, or one is beyond the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        if ids.is_empty() {
            bail!("no tokens to embed");
        }
        self.table.rows(ids)
    }

    /// The tokens after the last block and the final norm, (B, T, C), of `embeddings` (B, T, C): the state s that heads read.
    /// Each token sees itself and those before it. `mask` (B, T) is 0 where a token is padding, which no token sees, and 1
    /// elsewhere; what is returned for padding means nothing. Padding at the end needs no mask. Has a gradient of `embeddings`.
    ///
    /// # Errors
    /// When a row is longer than the model's positions, shapes do not fit, or of the tensors.
    pub fn forward(&self, embeddings: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, n_tokens, width) = embeddings.dims3()?;
        if width != self.config.hidden_size || n_tokens == 0 || n_tokens > self.config.max_position_embeddings {
            bail!(
                "embeddings of shape {:?}: this model takes tokens of width {}, 1 to {}",
                embeddings.dims(),
                self.config.hidden_size,
                self.config.max_position_embeddings
            );
        }
        let masks = self.masks(mask, batch, n_tokens)?;
        let mut x = embeddings.clone();
        for block in &self.blocks {
            x = block.forward(&x, &masks, &self.rope)?;
        }
        rms_norm(&x, &self.norm, self.config.rms_norm_eps)
    }

    /// One causal mask (T, T) for all rows, or one for each.
    fn masks(&self, mask: Option<&Tensor>, batch: usize, n_tokens: usize) -> Result<Vec<Tensor>> {
        let keep = match mask {
            Some(mask) if mask.dims() != [batch, n_tokens] => {
                bail!("a mask of shape {:?} for {batch} rows of {n_tokens} tokens", mask.dims())
            }
            Some(mask) => mask.to_dtype(DType::F32)?.to_vec2::<f32>()?,
            None => Vec::new(),
        };
        let causal = |keep: Option<&[f32]>| {
            let row = |query: usize| {
                (0..n_tokens).map(move |key| {
                    let is_kept = keep.is_none_or(|keep| keep.get(key).is_some_and(|keep| *keep != 0.0));
                    if key <= query && is_kept { 0.0 } else { HIDDEN }
                })
            };
            Tensor::from_vec((0..n_tokens).flat_map(row).collect::<Vec<f32>>(), (n_tokens, n_tokens), &self.device)
        };
        if keep.iter().flatten().all(|keep| *keep != 0.0) {
            return Ok(vec![causal(None)?]);
        }
        keep.iter().map(|keep| causal(Some(keep))).collect()
    }

    /// The scores of all tokens to come next: `hidden` is (…, C), from [`forward`](Self::forward); returns (…, vocabulary).
    /// Differentiable.
    ///
    /// # Errors
    /// When the width does not fit, or of the tensors.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head().forward(hidden)
    }

    pub(super) fn head(&self) -> &Frozen {
        self.head.as_ref().unwrap_or(&self.table)
    }
}

/// Where a model's weights come from.
pub(super) struct Source<'a> {
    weights: &'a Weights,
    device: &'a Device,
    config: PathBuf,
}

impl Source<'_> {
    /// `NAME.weight` of each part, (outputs, `n_in`), one after the other.
    pub(super) fn matrix(&self, parts: &[(&str, usize)], n_in: usize) -> crate::Result<Frozen> {
        let parts = parts.iter().map(|(name, n_out)| self.read(name, &[*n_out, n_in]));
        let parts = parts.collect::<crate::Result<Vec<_>>>()?;
        Ok(Frozen::new(&parts, self.device)?)
    }

    /// `NAME.weight` (`width`), in f32.
    pub(super) fn vector(&self, name: &str, width: usize) -> crate::Result<Tensor> {
        Ok(self.read(name, &[width])?.to_dtype(DType::F32)?.to_device(self.device)?)
    }

    /// As it is stored: the builder of [`Weights`] would make it f32.
    fn read(&self, name: &str, expected: &[usize]) -> crate::Result<Tensor> {
        let tensor = format!("{name}.weight");
        let found = self.weights.tensor(&tensor)?;
        if found.dims() == expected {
            return Ok(found);
        }
        Err(WeightsError::Shape {
            tensor,
            file: self.weights.file().to_owned(),
            config: self.config.clone(),
            expected: expected.to_vec(),
            found: found.dims().to_vec(),
        }
        .into())
    }
}

#[cfg(test)]
#[path = "llama_tests.rs"]
mod tests;
