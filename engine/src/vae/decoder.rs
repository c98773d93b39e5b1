//! Latents to pixels (diffusers' `Decoder`, `models/autoencoders/vae.py`).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::mid::MidBlock;
use super::{EPS, VaeConfig, resnet};
use crate::block::{ResnetBlock2D, Upsample2D};
use crate::layer::{Conv2d, GroupNorm};

#[derive(Clone, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Clone, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    upsampler: Option<Upsample2D>,
}

impl Decoder {
    pub(super) fn new(config: &VaeConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = super::ends(channels)?;
        let mut n_in = last;
        let mut up_blocks = Vec::with_capacity(channels.len());
        for (level, &n_out) in channels.iter().rev().enumerate() {
            let weights = weights.pp("up_blocks").pp(level);
            // One more than in the encoder.
            let resnets = (0..=config.layers_per_block)
                .map(|layer| {
                    resnet(config, if layer == 0 { n_in } else { n_out }, n_out, &weights.pp("resnets").pp(layer))
                })
                .collect::<Result<_>>()?;
            let is_last = level + 1 == channels.len();
            let upsampler = (!is_last).then(|| Upsample2D::new(n_out, &weights.pp("upsamplers.0")));
            up_blocks.push(UpBlock { resnets, upsampler: upsampler.transpose()? });
            n_in = n_out;
        }
        Ok(Self {
            conv_in: Conv2d::new(config.latent_channels, last, 3, (1, 1), &weights.pp("conv_in"))?,
            mid_block: MidBlock::new(config, last, &weights.pp("mid_block"))?,
            up_blocks,
            conv_norm_out: GroupNorm::new(config.norm_num_groups, first, EPS, &weights.pp("conv_norm_out"))?,
            conv_out: Conv2d::new(first, config.out_channels, 3, (1, 1), &weights.pp("conv_out"))?,
        })
    }

    /// (B, latent channels, H, W) to (B, 3, factor·H, factor·W).
    pub(super) fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = self.mid_block.forward(&self.conv_in.forward(latents)?)?;
        for UpBlock { resnets, upsampler } in &self.up_blocks {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsampler) = upsampler {
                x = upsampler.forward(&x)?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }
}
