//! E(x): DINOv2 (arXiv 2304.07193), all sizes to giant; `Dinov2Model` of HF transformers.

mod config;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

pub use config::Dinov2Config;

use super::vit::{Activation, Block, Embeddings, Geometry, Mlp, Names};
use crate::Result;
use crate::layer::{LayerNorm, Linear};
use crate::weights::Weights;

const NAMES: Names = Names {
    norm1: "norm1",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
    norm2: "norm2",
};

/// DINOv2.
#[derive(Clone, Debug)]
pub struct Dinov2 {
    config: Dinov2Config,
    geometry: Geometry,
    embeddings: Embeddings,
    layers: Vec<Block>,
    layernorm: LayerNorm,
}

impl Dinov2 {
    /// Loads the folder's `config.json` and weights, as published (`facebook/dinov2-giant`), in f32.
    ///
    /// # Errors
    /// When the config is wrong or asks for what is not supported (registers), or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let config: Dinov2Config = crate::config::read(&path)?;
        let (geometry, activation) = config.check(&path)?;
        let weights = Weights::open(folder)?;
        let model = Self::new(config, geometry, activation, &weights.builder(DType::F32, device))?;
        let n_layers = model.layers.len();
        super::refuse_further_layers(&weights, "encoder.layer.", "num_hidden_layers", n_layers, &path)?;
        Ok(model)
    }

    fn new(
        config: Dinov2Config,
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

    /// `pixels` is (B, 3, H, W), of any size: positions are interpolated. Returns `last_hidden_state` after the final layer
    /// norm, (B, 1 + h·w, C) with h = ⌊H / patch⌋ and w = ⌊W / patch⌋: the CLS token, then the patches row by row.
    ///
    /// # Errors
    /// When the pixels have another number of channels or are less than a patch, or of the tensors.
    pub fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.embeddings.forward(pixels)?; // (B, 1 + h·w, C)
        for layer in &self.layers {
            x = layer.forward(&x, None)?;
        }
        self.layernorm.forward(&x)
    }

    /// What the config says.
    #[must_use]
    pub fn config(&self) -> &Dinov2Config {
        &self.config
    }

    /// The side of the pictures whose positions were learned, in pixels. Preprocessing usually makes smaller ones: 224.
    #[must_use]
    pub fn image_size(&self) -> usize {
        self.geometry.image_size
    }
}

fn layer(config: &Dinov2Config, activation: Activation, weights: &VarBuilder<'_>) -> candle_core::Result<Block> {
    let width = config.hidden_size;
    let hidden = config.mlp_width();
    let in_mlp = weights.pp("mlp");
    let mlp = if config.use_swiglu_ffn {
        Mlp::SwiGlu {
            first: Linear::new(width, 2 * hidden, &in_mlp.pp("weights_in"))?,
            second: Linear::new(hidden, width, &in_mlp.pp("weights_out"))?,
        }
    } else {
        Mlp::Plain {
            first: Linear::new(width, hidden, &in_mlp.pp("fc1"))?,
            activation,
            second: Linear::new(hidden, width, &in_mlp.pp("fc2"))?,
        }
    };
    let dims = (width, config.num_attention_heads, config.layer_norm_eps);
    let scale1 = weights.get(width, "layer_scale1.lambda1")?;
    let scale2 = weights.get(width, "layer_scale2.lambda1")?;
    Ok(Block::new(&NAMES, dims, config.qkv_bias, mlp, weights)?.scaled_by(scale1, scale2))
}

#[cfg(test)]
mod tests;
