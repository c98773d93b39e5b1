//! The transformer inside a block: `Transformer2DModel` of diffusers.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::attention::{CrossAttention, SelfAttention};
use super::conditioning::Context;
use super::config::UNetConfig;
use crate::layer::{Conv2d, GroupNorm, LayerNorm, Linear};
use crate::op;

/// ε of the norm before the transformer, which no config sets.
const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;

#[derive(Clone, Debug)]
pub(super) struct Transformer2D {
    norm: GroupNorm,
    projections: Projections,
    transformer_blocks: Vec<TransformerBlock>,
}

/// The same product either way; SD1 keeps its weights as 1×1 kernels.
#[derive(Clone, Debug)]
enum Projections {
    Linear { proj_in: Linear, proj_out: Linear },
    Conv { proj_in: Conv2d, proj_out: Conv2d },
}

impl Transformer2D {
    pub(super) fn new(
        width: usize,
        n_heads: usize,
        n_layers: usize,
        config: &UNetConfig,
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let (proj_in, proj_out) = (weights.pp("proj_in"), weights.pp("proj_out"));
        let projections = if config.use_linear_projection {
            Projections::Linear {
                proj_in: Linear::new(width, width, &proj_in)?,
                proj_out: Linear::new(width, width, &proj_out)?,
            }
        } else {
            Projections::Conv {
                proj_in: Conv2d::new(width, width, 1, (1, 0), &proj_in)?,
                proj_out: Conv2d::new(width, width, 1, (1, 0), &proj_out)?,
            }
        };
        let blocks = weights.pp("transformer_blocks");
        let transformer_blocks = (0..n_layers)
            .map(|index| TransformerBlock::new(width, n_heads, config, &blocks.pp(index)))
            .collect::<Result<_>>()?;
        let norm = GroupNorm::new(config.norm_num_groups, width, GROUP_NORM_EPS, &weights.pp("norm"))?;
        Ok(Self { norm, projections, transformer_blocks })
    }

    /// `x` is (B, C, H, W).
    pub(super) fn forward(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let normed = self.norm.forward(x)?;
        let mut hidden = match &self.projections {
            Projections::Linear { proj_in, .. } => proj_in.forward(&op::channels_last(&normed)?)?,
            Projections::Conv { proj_in, .. } => op::channels_last(&proj_in.forward(&normed)?)?,
        }; // (B, HW, C)
        for block in &self.transformer_blocks {
            hidden = block.forward(&hidden, context)?;
        }
        let out = match &self.projections {
            Projections::Linear { proj_out, .. } => op::channels_first(&proj_out.forward(&hidden)?, height, width)?,
            Projections::Conv { proj_out, .. } => proj_out.forward(&op::channels_first(&hidden, height, width)?)?,
        };
        op::add(&out, x)
    }
}

/// Self-attention, cross-attention, feed-forward, each behind a norm: `BasicTransformerBlock` of diffusers.
#[derive(Clone, Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: SelfAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
}

impl TransformerBlock {
    fn new(width: usize, n_heads: usize, config: &UNetConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let norm = |name: &str| LayerNorm::new(width, LAYER_NORM_EPS, &weights.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: SelfAttention::new(width, n_heads, &weights.pp("attn1"))?,
            norm2: norm("norm2")?,
            attn2: CrossAttention::new(width, n_heads, config, &weights.pp("attn2"))?,
            norm3: norm("norm3")?,
            // GEGLU: value and gate, four times the width each.
            feed_forward_in: Linear::new(width, 8 * width, &weights.pp("ff.net.0.proj"))?,
            feed_forward_out: Linear::new(4 * width, width, &weights.pp("ff.net.2"))?,
        })
    }

    /// `x` is (B, HW, C).
    fn forward(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let x = op::add(&self.attn1.forward(&self.norm1.forward(x)?)?, x)?;
        let x = op::add(&self.attn2.forward(&self.norm2.forward(&x)?, context)?, &x)?;
        let gated = op::geglu(&self.feed_forward_in.forward(&self.norm3.forward(&x)?)?)?; // (B, HW, 4C)
        op::add(&self.feed_forward_out.forward(&gated)?, &x)
    }
}
