//! DINO (arXiv 2104.14294): its CLS token judges how alike two pictures are; `ViTModel` of HF transformers.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use super::vit::{Activation, Block, Embeddings, Geometry, Mlp, Names, check_heads, first_token};
use crate::Result;
use crate::config::{Size, unsupported};
use crate::layer::{LayerNorm, Linear};
use crate::weights::Weights;

const NAMES: Names = Names {
    norm1: "layernorm_before",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
    norm2: "layernorm_after",
};

/// `ViTConfig` of HF transformers, with its defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DinoConfig {
    /// `vit`.
    pub model_type: String,
    /// C, the width of a token.
    pub hidden_size: usize,
    /// How many blocks.
    pub num_hidden_layers: usize,
    /// How many heads share C.
    pub num_attention_heads: usize,
    /// The MLP's inner width.
    pub intermediate_size: usize,
    /// The MLP's activation.
    pub hidden_act: String,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// The side of the pictures it was trained on, in pixels.
    pub image_size: Size,
    /// The side of a patch, in pixels.
    pub patch_size: Size,
    /// 3: red, green, blue.
    pub num_channels: usize,
    /// Whether query, key and value have biases.
    pub qkv_bias: bool,
}

impl Default for DinoConfig {
    fn default() -> Self {
        Self {
            model_type: "vit".to_owned(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            image_size: Size::Square(224),
            patch_size: Size::Square(16),
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

/// DINO's vision transformer.
#[derive(Clone, Debug)]
pub struct Dino {
    config: DinoConfig,
    geometry: Geometry,
    embeddings: Embeddings,
    layers: Vec<Block>,
    layernorm: LayerNorm,
}

impl Dino {
    /// Loads the folder's `config.json` and weights, as published (`facebook/dino-vits16`), in f32. Names may have the
    /// prefix `vit.`, as classifiers have them.
    ///
    /// # Errors
    /// When the config is wrong, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let config: DinoConfig = crate::config::read(&path)?;
        if config.model_type != "vit" {
            return Err(unsupported(&path, "model_type", format!("\"{}\"", config.model_type), "\"vit\""));
        }
        check_heads(config.hidden_size, config.num_attention_heads, &path)?;
        let geometry = Geometry::new(config.image_size, config.patch_size, &path)?;
        let activation = Activation::from_config(&config.hidden_act, &path)?;
        let weights = Weights::open(folder)?;
        let prefix = if weights.contains("vit.embeddings.cls_token") { "vit." } else { "" };
        let builder = weights.builder(DType::F32, device);
        let builder = if prefix.is_empty() { builder } else { builder.pp("vit") };
        let model = Self::new(config, geometry, activation, &builder)?;
        let n_layers = model.layers.len();
        let layers = format!("{prefix}encoder.layer.");
        super::refuse_further_layers(&weights, &layers, "num_hidden_layers", n_layers, &path)?;
        Ok(model)
    }

    fn new(
        config: DinoConfig,
        geometry: Geometry,
        activation: Activation,
        weights: &VarBuilder<'_>,
    ) -> candle_core::Result<Self> {
        let width = config.hidden_size;
        let layer = |index: usize| layer(&config, activation, &weights.pp("encoder.layer").pp(index));
        Ok(Self {
            embeddings: Embeddings::new(config.num_channels, width, geometry, &weights.pp("embeddings"))?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<candle_core::Result<_>>()?,
            layernorm: LayerNorm::new(width, config.layer_norm_eps, &weights.pp("layernorm"))?,
            geometry,
            config,
        })
    }

    /// `pixels` is (B, 3, H, W), of any size: positions are interpolated. Returns the CLS token after the final layer
    /// norm, (B, C), as it is: see [`normalized`](super::normalized).
    ///
    /// # Errors
    /// When the pixels have another number of channels or are less than a patch, or of the tensors.
    pub fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.embeddings.forward(pixels)?; // (B, 1 + h·w, C)
        self.layernorm.forward(&first_token(&self.layers, x)?)
    }

    /// What the config says.
    #[must_use]
    pub fn config(&self) -> &DinoConfig {
        &self.config
    }

    /// The side of the pictures it was trained on, in pixels.
    #[must_use]
    pub fn image_size(&self) -> usize {
        self.geometry.image_size
    }
}

fn layer(config: &DinoConfig, activation: Activation, weights: &VarBuilder<'_>) -> candle_core::Result<Block> {
    let (width, hidden) = (config.hidden_size, config.intermediate_size);
    let mlp = Mlp::Plain {
        first: Linear::new(width, hidden, &weights.pp("intermediate.dense"))?,
        activation,
        second: Linear::new(hidden, width, &weights.pp("output.dense"))?,
    };
    let dims = (width, config.num_attention_heads, config.layer_norm_eps);
    Block::new(&NAMES, dims, config.qkv_bias, mlp, weights)
}

#[cfg(test)]
mod tests;
