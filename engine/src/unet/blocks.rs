//! The UNet's blocks: down, middle, up.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::conditioning::Context;
use super::config::{DownBlockType, UNetConfig, UpBlockType};
use super::transformer::Transformer2D;
use crate::block::{Downsample2D, DownsamplePadding, ResnetBlock2D, ResnetShape, Upsample2D};

/// One resolution on the way down: residual blocks, each with attention or not, then a halving.
#[derive(Clone, Debug)]
pub(crate) struct DownBlock {
    layers: Vec<Layer>,
    downsampler: Option<Downsample2D>,
}

/// One resolution on the way up: each layer takes in what the way down left for it; then a doubling.
#[derive(Clone, Debug)]
pub(super) struct UpBlock {
    layers: Vec<Layer>,
    upsampler: Option<Upsample2D>,
}

/// Residual block, attention, residual block.
#[derive(Clone, Debug)]
pub(crate) struct MidBlock {
    first: Layer,
    last: ResnetBlock2D,
}

#[derive(Clone, Debug)]
struct Layer {
    resnet: ResnetBlock2D,
    attention: Option<Transformer2D>,
}

impl Layer {
    /// `index` is that of the layer in its block, `resolution` that of the block, finest first.
    fn new(
        (n_in, n_out): (usize, usize),
        index: usize,
        (resolution, has_attention): (usize, bool),
        config: &UNetConfig,
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let resnet = resnet((n_in, n_out), config, &weights.pp("resnets").pp(index))?;
        let attention = if has_attention {
            let n_heads = config.attention_head_dim.at(resolution);
            let n_layers = config.transformer_layers_per_block.at(resolution);
            Some(Transformer2D::new(n_out, n_heads, n_layers, config, &weights.pp("attentions").pp(index))?)
        } else {
            None
        };
        Ok(Self { resnet, attention })
    }

    /// `x` is (B, C, H, W), `time` (B, T).
    fn forward(&self, x: &Tensor, time: &Tensor, context: &Context) -> Result<Tensor> {
        let x = self.resnet.forward(x, Some(time))?;
        match &self.attention {
            Some(attention) => attention.forward(&x, context),
            None => Ok(x),
        }
    }
}

fn resnet((n_in, n_out): (usize, usize), config: &UNetConfig, weights: &VarBuilder<'_>) -> Result<ResnetBlock2D> {
    let shape = ResnetShape {
        n_in,
        n_out,
        n_groups: config.norm_num_groups,
        eps: config.norm_eps,
        n_time: Some(config.time_embedding_dim()),
    };
    ResnetBlock2D::new(shape, weights)
}

fn channels(config: &UNetConfig, resolution: usize) -> usize {
    config.block_out_channels.get(resolution).copied().unwrap_or_default()
}

impl DownBlock {
    pub(crate) fn new(
        kind: DownBlockType,
        resolution: usize,
        config: &UNetConfig,
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let n_out = channels(config, resolution);
        let n_before = channels(config, resolution.saturating_sub(1));
        let has_attention = kind == DownBlockType::CrossAttnDownBlock2D;
        let layers = (0..config.layers_per_block)
            .map(|index| {
                let n_in = if index == 0 { n_before } else { n_out };
                Layer::new((n_in, n_out), index, (resolution, has_attention), config, weights)
            })
            .collect::<Result<_>>()?;
        let is_last = resolution + 1 == config.block_out_channels.len();
        let downsampler = if is_last {
            None
        } else {
            Some(Downsample2D::new(n_out, DownsamplePadding::AllSides, &weights.pp("downsamplers.0"))?)
        };
        Ok(Self { layers, downsampler })
    }

    /// Leaves each intermediate result in `skips`, for the way up.
    pub(crate) fn forward(
        &self,
        x: Tensor,
        time: &Tensor,
        context: &Context,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x;
        for layer in &self.layers {
            x = layer.forward(&x, time, context)?;
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

impl MidBlock {
    pub(crate) fn new(config: &UNetConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let resolution = config.block_out_channels.len().saturating_sub(1);
        let width = channels(config, resolution);
        let first = Layer::new((width, width), 0, (resolution, true), config, weights)?;
        Ok(Self { first, last: resnet((width, width), config, &weights.pp("resnets.1"))? })
    }

    pub(crate) fn forward(&self, x: &Tensor, time: &Tensor, context: &Context) -> Result<Tensor> {
        self.last.forward(&self.first.forward(x, time, context)?, Some(time))
    }
}

impl UpBlock {
    /// `index` counts from the coarsest resolution, as the names of its weights do.
    pub(super) fn new(kind: UpBlockType, index: usize, config: &UNetConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let last = config.block_out_channels.len().saturating_sub(1);
        let resolution = last.saturating_sub(index);
        let n_out = channels(config, resolution);
        // What comes from below, and what the way down left: its first convolution's result counts as a layer.
        let n_below = channels(config, (resolution + 1).min(last));
        let n_finer = channels(config, resolution.saturating_sub(1));
        let has_attention = kind == UpBlockType::CrossAttnUpBlock2D;
        let layers = (0..=config.layers_per_block)
            .map(|layer| {
                let n_from = if layer == 0 { n_below } else { n_out };
                let n_skip = if layer == config.layers_per_block { n_finer } else { n_out };
                Layer::new((n_from + n_skip, n_out), layer, (resolution, has_attention), config, weights)
            })
            .collect::<Result<_>>()?;
        let upsampler = if resolution == 0 { None } else { Some(Upsample2D::new(n_out, &weights.pp("upsamplers.0"))?) };
        Ok(Self { layers, upsampler })
    }

    /// Takes its part of `skips` from the end.
    pub(super) fn forward(
        &self,
        x: Tensor,
        time: &Tensor,
        context: &Context,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x;
        for layer in &self.layers {
            let Some(skip) = skips.pop() else { candle_core::bail!("the way down left too little for the way up") };
            x = layer.forward(&Tensor::cat(&[&x, &skip], 1)?, time, context)?;
        }
        match &self.upsampler {
            Some(upsampler) => upsampler.forward(&x),
            None => Ok(x),
        }
    }
}
