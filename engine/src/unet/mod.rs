//! G: the UNet of Stable Diffusion, conditioned on text, or on CAFE's two image conditions (Eq. 1).
//!
//! The reference is diffusers' `UNet2DConditionModel`; names follow its weight files. What CAFE adds, in each `attn2`:
//! `to_k_clip`, `to_v_clip`, `to_k_dino` and `to_v_dino` in place of `to_k` and `to_v`, and, where F(x) becomes several
//! tokens, `clip_tokens.{proj,norm}` at the top.

mod attention;
pub(crate) mod blocks;
pub(crate) mod conditioning;
mod config;
pub mod init;
mod prepared;
pub(crate) mod time;
mod trainable;
mod transformer;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use self::blocks::{DownBlock, MidBlock, UpBlock};
use self::conditioning::{ClipTokens, Context, Tokens};
use self::time::TimestepEmbedding;
use crate::error::Result;
use crate::layer::{Conv2d, GroupNorm};
use crate::weights::{Variables, Weights};

pub use self::conditioning::{CafeConditioning, Conditioning};
pub use self::config::{CafeConfig, DownBlockType, PerBlock, UNetConfig, UpBlockType};
pub use self::prepared::Prepared;
pub use self::trainable::Trainable;

/// Predicts the noise (or the velocity) in latents.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    clip_tokens: Option<ClipTokens>,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    /// Loads `config.json` and the weights in `folder`, for inference.
    ///
    /// # Errors
    /// When one is missing, or they do not fit each other.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = UNetConfig::read(&folder.join("config.json"))?;
        let weights = Weights::open(folder)?;
        Self::from_weights(config, &weights, device)
    }

    /// Builds it of `weights`, for inference.
    ///
    /// # Errors
    /// When they do not fit `config`.
    pub fn from_weights(config: UNetConfig, weights: &Weights, device: &Device) -> Result<Self> {
        Ok(Self::new(config, &weights.builder(DType::F32, device))?)
    }

    /// Builds it of `weights`, with what `trainable` names as variables. Returns it with those.
    ///
    /// # Errors
    /// When they do not fit `config`.
    pub fn for_training(
        config: UNetConfig,
        weights: &Weights,
        trainable: Trainable,
        device: &Device,
    ) -> Result<(Self, Variables)> {
        let variables = trainable.variables();
        let unet = Self::new(config, &weights.trainable(&variables, DType::F32, device))?;
        Ok((unet, variables))
    }

    pub(crate) fn new(config: UNetConfig, weights: &VarBuilder<'_>) -> candle_core::Result<Self> {
        let first = config.block_out_channels.first().copied().unwrap_or_default();
        let clip_tokens = match &config.cafe {
            Some(cafe) => Some(ClipTokens::new(cafe, &weights.pp("clip_tokens"))?),
            None => None,
        };
        let down_blocks = config
            .down_block_types
            .iter()
            .enumerate()
            .map(|(index, kind)| DownBlock::new(*kind, index, &config, &weights.pp("down_blocks").pp(index)));
        let up_blocks = config
            .up_block_types
            .iter()
            .enumerate()
            .map(|(index, kind)| UpBlock::new(*kind, index, &config, &weights.pp("up_blocks").pp(index)));
        Ok(Self {
            conv_in: Conv2d::new(config.in_channels, first, 3, (1, 1), &weights.pp("conv_in"))?,
            time_embedding: TimestepEmbedding::new(&config, &weights.pp("time_embedding"))?,
            clip_tokens,
            down_blocks: down_blocks.collect::<candle_core::Result<_>>()?,
            mid_block: MidBlock::new(&config, &weights.pp("mid_block"))?,
            up_blocks: up_blocks.collect::<candle_core::Result<_>>()?,
            conv_norm_out: GroupNorm::new(
                config.norm_num_groups,
                first,
                config.norm_eps,
                &weights.pp("conv_norm_out"),
            )?,
            conv_out: Conv2d::new(first, config.out_channels, 3, (1, 1), &weights.pp("conv_out"))?,
            config,
        })
    }

    /// What it was built by.
    #[must_use]
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Predicts the noise or the velocity in `latents` (B, C, H, W) at `timesteps` (B), one for each row.
    /// Returns (B, C, H, W).
    ///
    /// # Errors
    /// When shapes do not fit, the conditions are not those of this UNet, or of the tensors.
    pub fn forward(
        &self,
        latents: &Tensor,
        timesteps: &Tensor,
        conditioning: &Conditioning,
    ) -> candle_core::Result<Tensor> {
        self.predict(latents, timesteps, &self.context(conditioning, Tokens::once)?)
    }

    fn predict(&self, latents: &Tensor, timesteps: &Tensor, context: &Context) -> candle_core::Result<Tensor> {
        self.check(latents, timesteps)?;
        let time = self.time_embedding.forward(timesteps)?; // (B, 4·C₀)
        let mut x = self.conv_in.forward(latents)?;
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &time, context, &mut skips)?;
        }
        x = self.mid_block.forward(&x, &time, context)?;
        for block in &self.up_blocks {
            x = block.forward(x, &time, context, &mut skips)?;
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }

    fn check(&self, latents: &Tensor, timesteps: &Tensor) -> candle_core::Result<()> {
        let (batch, channels, height, width) = latents.dims4()?;
        let multiple = self.config.latent_multiple();
        if channels != self.config.in_channels {
            candle_core::bail!("latents have {channels} channels, this UNet takes {}", self.config.in_channels);
        }
        if height == 0 || width == 0 || height % multiple != 0 || width % multiple != 0 {
            candle_core::bail!("latents are {height}×{width}: this UNet takes multiples of {multiple}");
        }
        if timesteps.dims() != [batch] {
            candle_core::bail!(
                "timesteps have shape {:?}: one for each of the {batch} rows is wanted",
                timesteps.dims()
            );
        }
        Ok(())
    }

    /// The tokens of `conditioning`, each sequence as `tokens` makes it.
    fn context(&self, conditioning: &Conditioning, tokens: impl Fn(Tensor) -> Tokens) -> candle_core::Result<Context> {
        match (conditioning, &self.clip_tokens) {
            (Conditioning::Text(states), None) => Ok(Context::Text(tokens(states.clone()))),
            (Conditioning::Cafe(CafeConditioning { clip, dino }), Some(clip_tokens)) => {
                Ok(Context::Cafe { clip: tokens(clip_tokens.forward(clip)?), dino: tokens(dino.clone()) })
            }
            (Conditioning::Text(_), Some(_)) => {
                candle_core::bail!("this UNet has CAFE's conditions, and was given text")
            }
            (Conditioning::Cafe(_), None) => {
                candle_core::bail!("this UNet is conditioned on text, and was given CAFE's conditions")
            }
        }
    }
}

#[cfg(test)]
mod tests;
