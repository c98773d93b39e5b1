//! The lowest level: residual block, attention, residual block (diffusers' `UNetMidBlock2D` as the VAE has it).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{EPS, VaeConfig, resnet};
use crate::block::ResnetBlock2D;
use crate::layer::GroupNorm;
use crate::op;

#[derive(Clone, Debug)]
pub(super) struct MidBlock {
    resnets: [ResnetBlock2D; 2],
    attention: Option<Attention>,
}

impl MidBlock {
    pub(super) fn new(config: &VaeConfig, n_channels: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        let attention = config
            .mid_block_add_attention
            .then(|| Attention::new(n_channels, config.norm_num_groups, &weights.pp("attentions.0")));
        let resnet = |name| resnet(config, n_channels, n_channels, &weights.pp(name));
        Ok(Self { resnets: [resnet("resnets.0")?, resnet("resnets.1")?], attention: attention.transpose()? })
    }

    /// (B, C, H, W) to the same.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.resnets;
        let x = first.forward(x, None)?;
        let x = match &self.attention {
            Some(attention) => attention.forward(&x)?,
            None => x,
        };
        second.forward(&x, None)
    }
}

/// Attention of all pixels to all pixels, one head.
#[derive(Clone, Debug)]
struct Attention {
    group_norm: GroupNorm,
    to_q: Projection,
    to_k: Projection,
    to_v: Projection,
    to_out: Projection,
}

impl Attention {
    fn new(n_channels: usize, n_groups: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        // Files from before diffusers 0.16 have the old names.
        let [q, k, v, out] = match weights.contains_tensor("query.weight") {
            true => ["query", "key", "value", "proj_attn"],
            false => ["to_q", "to_k", "to_v", "to_out.0"],
        };
        let projection = |name| Projection::new(n_channels, &weights.pp(name));
        Ok(Self {
            group_norm: GroupNorm::new(n_groups, n_channels, EPS, &weights.pp("group_norm"))?,
            to_q: projection(q)?,
            to_k: projection(k)?,
            to_v: projection(v)?,
            to_out: projection(out)?,
        })
    }

    /// (B, C, H, W) to the same.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.group_norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // (B, H·W, C)
        let (q, k, v) = (self.to_q.forward(&normed)?, self.to_k.forward(&normed)?, self.to_v.forward(&normed)?);
        let y = self.to_out.forward(&op::attention(&q, &k, &v, 1, None)?)?; // (B, H·W, C)
        x + y.transpose(1, 2)?.reshape(x.shape())?
    }
}

/// A linear layer, which original Stable Diffusion files hold as a 1×1 convolution.
#[derive(Clone, Debug)]
struct Projection {
    weight: Tensor,
    bias: Tensor,
}

impl Projection {
    fn new(width: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        let stored = weights.get_unchecked("weight")?;
        let weight = match stored.rank() {
            4 => weights.get((width, width, 1, 1), "weight")?.reshape((width, width))?,
            _ => weights.get((width, width), "weight")?,
        };
        Ok(Self { weight, bias: weights.get(width, "bias")? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        op::linear(x, &self.weight, Some(&self.bias))
    }
}
