//! F: CLIP (arXiv 2103.00020), its image tower and its text tower with their projections; `CLIPModel` of HF transformers.
//!
//! A text and a picture are near each other where the text tells what the picture shows. CAFE conditions on F(x), and
//! filters by cosines: see [`normalized`](super::normalized).
//!
//! The towers are not those of candle-transformers, which agree with the reference too and take the same time with
//! composed operations (ViT-B/32, one thread: 0.14 s a picture, 0.09 s a text, either way). Those have `quick_gelu` and
//! 1e-5 built in, and layer norms without a gradient; Stable Diffusion's tower needs `gelu` and gradients, and whatever makes
//! [`crate::op`] faster makes these faster.

mod config;
mod image;
mod text;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

pub use config::{ClipTextConfig, ClipVisionConfig};
pub use image::ClipImage;
pub use text::ClipText;

pub(super) use config::text as text_config;
pub(super) use text::TextTower;

use super::vit::{Activation, Block, Mlp, Names};
use crate::layer::Linear;

const NAMES: Names = Names {
    norm1: "layer_norm1",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.out_proj",
    norm2: "layer_norm2",
};

/// The blocks of a tower.
#[derive(Clone, Debug)]
struct Layers(Vec<Block>);

struct Widths {
    hidden: usize,
    mlp: usize,
    n_heads: usize,
    n_layers: usize,
    eps: f64,
}

impl Layers {
    fn new(widths: &Widths, activation: Activation, weights: &VarBuilder<'_>) -> Result<Self> {
        let layer = |index: usize| {
            let weights = weights.pp("encoder.layers").pp(index);
            let mlp = Mlp::Plain {
                first: Linear::new(widths.hidden, widths.mlp, &weights.pp("mlp.fc1"))?,
                activation,
                second: Linear::new(widths.mlp, widths.hidden, &weights.pp("mlp.fc2"))?,
            };
            Block::new(&NAMES, (widths.hidden, widths.n_heads, widths.eps), true, mlp, &weights)
        };
        Ok(Self((0..widths.n_layers).map(layer).collect::<Result<_>>()?))
    }

    /// Runs `x` (B, T, C) through all blocks but the last `n_left_out`. Returns (B, T, C).
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>, n_left_out: usize) -> Result<Tensor> {
        let n_layers = self.0.len().saturating_sub(n_left_out);
        self.0.iter().take(n_layers).try_fold(x.clone(), |x, layer| layer.forward(&x, mask))
    }
}

#[cfg(test)]
mod tests;
