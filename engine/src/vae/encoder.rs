//! Pixels to the moments of latents (diffusers' `Encoder`, `models/autoencoders/vae.py`).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::mid::MidBlock;
use super::{EPS, VaeConfig, resnet};
use crate::block::{Downsample2D, DownsamplePadding, ResnetBlock2D};
use crate::layer::{Conv2d, GroupNorm};

#[derive(Clone, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Clone, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    downsampler: Option<Downsample2D>,
}

impl Encoder {
    pub(super) fn new(config: &VaeConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = super::ends(channels)?;
        let conv_in = Conv2d::new(config.in_channels, first, 3, (1, 1), &weights.pp("conv_in"))?;
        let mut n_in = first;
        let mut down_blocks = Vec::with_capacity(channels.len());
        for (level, &n_out) in channels.iter().enumerate() {
            let weights = weights.pp("down_blocks").pp(level);
            let resnets = (0..config.layers_per_block)
                .map(|layer| {
                    resnet(config, if layer == 0 { n_in } else { n_out }, n_out, &weights.pp("resnets").pp(layer))
                })
                .collect::<Result<_>>()?;
            let is_last = level + 1 == channels.len();
            let downsampler = (!is_last)
                .then(|| Downsample2D::new(n_out, DownsamplePadding::RightAndBottom, &weights.pp("downsamplers.0")));
            down_blocks.push(DownBlock { resnets, downsampler: downsampler.transpose()? });
            n_in = n_out;
        }
        Ok(Self {
            conv_in,
            down_blocks,
            mid_block: MidBlock::new(config, last, &weights.pp("mid_block"))?,
            conv_norm_out: GroupNorm::new(config.norm_num_groups, last, EPS, &weights.pp("conv_norm_out"))?,
            conv_out: Conv2d::new(last, 2 * config.latent_channels, 3, (1, 1), &weights.pp("conv_out"))?,
        })
    }

    /// (B, 3, H, W) to (B, 2·latent channels, H/factor, W/factor).
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(pixels)?;
        for DownBlock { resnets, downsampler } in &self.down_blocks {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(downsampler) = downsampler {
                x = downsampler.forward(&x)?;
            }
        }
        let x = self.mid_block.forward(&x)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }
}
