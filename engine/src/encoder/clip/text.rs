//! CLIP's text tower.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::config::{self, ClipTextConfig};
use super::{Layers, Widths};
use crate::encoder::vit::{Activation, check_heads};
use crate::layer::{LayerNorm, Linear};
use crate::weights::Weights;

/// An `eos_token_id` that old configs have by mistake, and that HF transformers reads as "the largest id".
const MISTAKEN_EOS: u32 = 2;

/// The tower without its projection: what CLIP and Stable Diffusion share.
#[derive(Clone, Debug)]
pub(in crate::encoder) struct TextTower {
    /// (vocabulary, C)
    token_embedding: Tensor,
    /// (longest text, C)
    position_embedding: Tensor,
    layers: Layers,
    final_layer_norm: LayerNorm,
}

impl TextTower {
    /// Loads the tower whose parts are directly under `weights`; `path` is the config's.
    pub(in crate::encoder) fn new(
        config: &ClipTextConfig,
        path: &Path,
        weights: &VarBuilder<'_>,
    ) -> crate::Result<Self> {
        check_heads(config.hidden_size, config.num_attention_heads, path)?;
        let activation = Activation::from_config(&config.hidden_act, path)?;
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let in_embeddings = weights.pp("embeddings");
        let widths = Widths {
            hidden: width,
            mlp: config.intermediate_size,
            n_heads: config.num_attention_heads,
            n_layers: config.num_hidden_layers,
            eps,
        };
        Ok(Self {
            token_embedding: in_embeddings.get((config.vocab_size, width), "token_embedding.weight")?,
            position_embedding: in_embeddings
                .get((config.max_position_embeddings, width), "position_embedding.weight")?,
            layers: Layers::new(&widths, activation, weights)?,
            final_layer_norm: LayerNorm::new(width, eps, &weights.pp("final_layer_norm"))?,
        })
    }

    /// Tokens with their positions: `ids` (B, T) of u32 to (B, T, C).
    pub(in crate::encoder) fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, n_tokens) = ids.dims2()?;
        let (longest, width) = self.position_embedding.dims2()?;
        if n_tokens > longest {
            candle_core::bail!("texts of {n_tokens} tokens: this text tower takes {longest} at most");
        }
        let tokens = self.token_embedding.index_select(&ids.flatten_all()?, 0)?.reshape((batch, n_tokens, width))?;
        tokens.broadcast_add(&self.position_embedding.narrow(0, 0, n_tokens)?)
    }

    /// Embedded tokens (B, T, C) through all blocks but the last `n_left_out`; not normalised yet. Returns (B, T, C).
    pub(in crate::encoder) fn hidden_state(&self, embeddings: &Tensor, n_left_out: usize) -> Result<Tensor> {
        let mask = causal_mask(embeddings.dim(1)?, embeddings.device())?;
        self.layers.forward(embeddings, Some(&mask), n_left_out)
    }

    /// The final norm of `x` (…, C).
    pub(in crate::encoder) fn norm(&self, x: &Tensor) -> Result<Tensor> {
        self.final_layer_norm.forward(x)
    }
}

/// What is added to scores so that no token sees those after it: (`n_tokens`, `n_tokens`).
fn causal_mask(n_tokens: usize, device: &Device) -> Result<Tensor> {
    let row = |query: usize| (0..n_tokens).map(move |key| if key > query { f32::NEG_INFINITY } else { 0.0 });
    Tensor::from_vec((0..n_tokens).flat_map(row).collect(), (n_tokens, n_tokens), device)
}

/// CLIP's text tower with its projection: F of a text.
#[derive(Clone, Debug)]
pub struct ClipText {
    config: ClipTextConfig,
    tower: TextTower,
    text_projection: Linear,
}

impl ClipText {
    /// Loads the text tower from a folder with `config.json` and weights, of both towers or of this one, in f32.
    ///
    /// # Errors
    /// When the config is wrong, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device) -> crate::Result<Self> {
        let path = folder.join("config.json");
        let config = config::text(&path)?;
        let weights = Weights::open(folder)?;
        let builder = weights.builder(DType::F32, device);
        let tower = TextTower::new(&config, &path, &builder.pp("text_model"))?;
        let projection = builder.pp("text_projection");
        let text_projection = Linear::without_bias(config.hidden_size, config.projection_dim, &projection)?;
        let (layers, n_layers) = ("text_model.encoder.layers.", config.num_hidden_layers);
        crate::encoder::refuse_further_layers(&weights, layers, "num_hidden_layers", n_layers, &path)?;
        Ok(Self { config, tower, text_projection })
    }

    /// F of texts: `ids` is (B, T) of u32, each row with its end-of-text token, as
    /// [`TextTokenizer`](crate::encoder::tokenizer::TextTokenizer) makes them. Returns (B, `projection_dim`), not normalised.
    ///
    /// # Errors
    /// When a text is too long, has an id beyond the vocabulary or no end, or of the tensors.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, n_tokens) = ids.dims2()?;
        let hidden = self.tower.hidden_state(&self.tower.embed(ids)?, 0)?; // (B, T, C)
        let rows = ids.to_dtype(DType::U32)?.to_vec2::<u32>()?;
        let ends = rows.iter().enumerate().map(|(row, ids)| Ok((row * n_tokens + self.end_of(row, ids)?) as u32));
        let ends = ends.collect::<Result<Vec<u32>>>()?;
        let ends = Tensor::new(ends, ids.device())?; // (B)
        let pooled = hidden.flatten(0, 1)?.index_select(&ends, 0)?; // (B, C)
        self.text_projection.forward(&self.tower.norm(&pooled)?)
    }

    /// Where the text of `row` ends: the first place of the end-of-text token, as `CLIPTextModel` finds it.
    fn end_of(&self, row: usize, ids: &[u32]) -> Result<usize> {
        let end = match self.config.eos_token_id {
            MISTAKEN_EOS => ids.iter().copied().max().unwrap_or_default(),
            end => end,
        };
        let Some(place) = ids.iter().position(|id| *id == end) else {
            candle_core::bail!("text {row} has no end-of-text token, {end}");
        };
        Ok(place)
    }

    /// What the config says.
    #[must_use]
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }
}
