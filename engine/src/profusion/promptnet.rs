//! PromptNet: a picture to a token, S*, that stands for its subject in prompts.

use std::path::Path;

use candle_core::{DType, Device, Result as TensorResult, Tensor};
use candle_nn::VarBuilder;

use super::config::PromptNetConfig;
use crate::error::Result;
use crate::layer::{Conv2d, Linear};
use crate::op;
use crate::unet::blocks::{DownBlock, MidBlock};
use crate::unet::conditioning::{Context, Tokens};
use crate::unet::time::TimestepEmbedding;
use crate::weights::{Variables, Weights};

/// The encoder of ProFusion (arXiv 2305.13579; `models/promptnet.py`): the way down of a UNet over a picture's latents,
/// with the noisy latents x_t added and the picture's vision tokens attended to. S* so depends on t and x_t.
#[derive(Clone, Debug)]
pub struct PromptNet {
    config: PromptNetConfig,
    conv_in: Conv2d,
    condition_in: Conv2d,
    condition_out: Conv2d,
    time_embedding: TimestepEmbedding,
    vision_embedding: Linear,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    first_prompt_projection: Conv2d,
    down_prompt_projections: Vec<Conv2d>,
    mid_prompt_projection: Conv2d,
    region_prompt_output: Conv2d,
}

impl PromptNet {
    /// Loads `config.json` and the weights in `folder`, for inference.
    ///
    /// # Errors
    /// When one is missing, or they do not fit each other.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = PromptNetConfig::read(&folder.join("config.json"))?;
        Self::from_weights(config, &Weights::open(folder)?, device)
    }

    /// Builds it of `weights`, for inference.
    ///
    /// # Errors
    /// When they do not fit `config`.
    pub fn from_weights(config: PromptNetConfig, weights: &Weights, device: &Device) -> Result<Self> {
        Ok(Self::new(config, &weights.builder(DType::F32, device))?)
    }

    /// Builds it of `weights`, all of it as variables. Returns it with those.
    ///
    /// # Errors
    /// When they do not fit `config`.
    pub fn for_training(config: PromptNetConfig, weights: &Weights, device: &Device) -> Result<(Self, Variables)> {
        let variables = Variables::selected_by(|_| true);
        let net = Self::new(config, &weights.trainable(&variables, DType::F32, device))?;
        Ok((net, variables))
    }

    fn new(config: PromptNetConfig, weights: &VarBuilder<'_>) -> TensorResult<Self> {
        let unet = &config.unet;
        let widths = &unet.block_out_channels;
        let (first, last) = (widths.first().copied().unwrap_or_default(), widths.last().copied().unwrap_or_default());
        let width = config.region_proj_channel;
        let head =
            |n_in: usize, size: usize, weights: VarBuilder<'_>| Conv2d::new(n_in, width, size, (size, 0), &weights);
        let down_blocks = unet
            .down_block_types
            .iter()
            .enumerate()
            .map(|(index, kind)| DownBlock::new(*kind, index, unet, &weights.pp("down_blocks").pp(index)))
            .collect::<TensorResult<_>>()?;
        let sizes = config.head_sizes();
        let heads = widths.iter().zip(&sizes).enumerate();
        let down_prompt_projections = heads
            .map(|(index, (n_in, size))| head(*n_in, *size, weights.pp("down_prompt_projections").pp(index)))
            .collect::<TensorResult<_>>()?;
        let in_condition = weights.pp("promptnet_cond_embedding");
        let side = config.region_kernel_size;
        let n_maps = (widths.len() + 2) * width;
        Ok(Self {
            conv_in: Conv2d::new(unet.in_channels, first, 3, (1, 1), &weights.pp("conv_in"))?,
            condition_in: Conv2d::new(unet.in_channels, first, 3, (1, 1), &in_condition.pp("conv_in"))?,
            condition_out: Conv2d::new(first, first, 3, (1, 1), &in_condition.pp("conv_out"))?,
            time_embedding: TimestepEmbedding::new(unet, &weights.pp("time_embedding"))?,
            vision_embedding: Linear::new(
                config.vision_dim(),
                unet.cross_attention_dim,
                &weights.pp("vision_embedding"),
            )?,
            down_blocks,
            mid_block: MidBlock::new(unet, &weights.pp("mid_block"))?,
            first_prompt_projection: head(first, config.downsample(), weights.pp("first_prompt_projection"))?,
            down_prompt_projections,
            mid_prompt_projection: head(
                last,
                sizes.last().copied().unwrap_or_default(),
                weights.pp("mid_prompt_projection"),
            )?,
            region_prompt_output: Conv2d::new(
                n_maps,
                config.prompt_channel,
                side,
                (side, 0),
                &weights.pp("region_prompt_output"),
            )?,
            config,
        })
    }

    /// What it was built by.
    #[must_use]
    pub fn config(&self) -> &PromptNetConfig {
        &self.config
    }

    /// S*, (B, 1, D): `reference` are a picture's latents, scaled, `noisy` x_t, both (B, C, s, s) of the size that the
    /// config says; `timesteps` is (B), and `vision` (B, N, D_vision), all tokens of the image encoder before its last norm.
    ///
    /// # Errors
    /// When shapes do not fit, or of the tensors.
    pub fn forward(
        &self,
        reference: &Tensor,
        noisy: &Tensor,
        timesteps: &Tensor,
        vision: &Tensor,
    ) -> TensorResult<Tensor> {
        self.check(reference, noisy, timesteps, vision)?;
        let time = self.time_embedding.forward(timesteps)?; // (B, 4·C₀)
        let context = Context::Text(Tokens::once(self.vision_embedding.forward(vision)?));
        let condition = op::silu(&self.condition_in.forward(noisy)?)?; // (B, C₀, s, s)
        let mut x = op::add(&self.conv_in.forward(reference)?, &self.condition_out.forward(&condition)?)?;
        let mut maps = vec![self.first_prompt_projection.forward(&x)?]; // (B, R, k, k) each
        let mut unused = Vec::new(); // What the way up would take.
        for (block, head) in self.down_blocks.iter().zip(&self.down_prompt_projections) {
            x = block.forward(x, &time, &context, &mut unused)?;
            unused.clear();
            maps.push(head.forward(&x)?);
        }
        maps.push(self.mid_prompt_projection.forward(&self.mid_block.forward(&x, &time, &context)?)?);
        let token = self.region_prompt_output.forward(&Tensor::cat(&maps, 1)?)?; // (B, D, 1, 1)
        token.flatten_from(2)?.transpose(1, 2)?.contiguous()
    }

    fn check(&self, reference: &Tensor, noisy: &Tensor, timesteps: &Tensor, vision: &Tensor) -> TensorResult<()> {
        let (batch, channels, side) = (reference.dim(0)?, self.config.unet.in_channels, self.config.latent_size());
        for (name, latents) in [("reference", reference), ("noisy latents", noisy)] {
            if latents.dims() != [batch, channels, side, side] {
                candle_core::bail!(
                    "PromptNet's {name} have shape {:?}: ({batch}, {channels}, {side}, {side}) is wanted",
                    latents.dims()
                );
            }
        }
        if timesteps.dims() != [batch] {
            candle_core::bail!(
                "timesteps have shape {:?}: one for each of the {batch} rows is wanted",
                timesteps.dims()
            );
        }
        let (rows, _, width) = vision.dims3()?;
        if (rows, width) != (batch, self.config.vision_dim()) {
            candle_core::bail!(
                "vision tokens have shape {:?}: ({batch}, N, {}) is wanted",
                vision.dims(),
                self.config.vision_dim()
            );
        }
        Ok(())
    }
}
