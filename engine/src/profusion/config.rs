//! PromptNet's `config.json`: the base UNet's keys, and its own.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::encoder::text::Layer;
use crate::error::{EngineError, Result};
use crate::unet::UNetConfig;

/// `config.json` of a PromptNet (ProFusion, `models/promptnet.py`): a UNet's, whose way up it does not have.
///
/// How maps become one token: `first_prompt_projection` shrinks the first map `region_downsample` times, the head of each
/// resolution as many times as are left after the UNet's own halvings, so that all maps are
/// s / `region_downsample` wide for latents of s; `region_kernel_size` must be just that, and makes one token of them.
/// For SD2 and latents of 64: heads of 8, 4, 2, 1, 1, 1, and a kernel of 8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptNetConfig {
    /// The base UNet's keys. `cross_attention_dim` is the width of the vision tokens after their projection.
    #[serde(flatten)]
    pub unet: UNetConfig,
    /// Width of S*: the text encoder's.
    #[serde(default = "default_prompt_channel")]
    pub prompt_channel: usize,
    /// Channels of each head.
    #[serde(default = "default_region_proj_channel")]
    pub region_proj_channel: usize,
    /// Side of the heads' maps.
    #[serde(default = "eight")]
    pub region_kernel_size: usize,
    /// How many times smaller the heads' maps are than the latents. Not a key of ProFusion, which has 8 for up to four
    /// resolutions.
    #[serde(default)]
    pub region_downsample: Option<usize>,
    /// Width of the vision tokens. Not a key of ProFusion, which has 1280, or 1024 without `use_clip_vision_embeds`.
    #[serde(default)]
    pub vision_dim: Option<usize>,
    /// ProFusion's word for `vision_dim` 1280; else it is 1024.
    #[serde(default)]
    pub use_clip_vision_embeds: bool,
    /// Whether it sees x_t: the published one does, and others are refused.
    #[serde(default)]
    pub with_noise: bool,
    /// After which block of the text encoder states are taken. Not a key of ProFusion.
    #[serde(default)]
    pub text_states: TextStates,
}

/// After which block of the text encoder states are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextStates {
    /// The last but one: ProFusion's, which takes OpenCLIP's text tower whole.
    #[default]
    Penultimate,
    /// The last: the same states where the encoder has its last block left out already, as SD2's `text_encoder` has.
    Last,
}

impl From<TextStates> for Layer {
    fn from(states: TextStates) -> Self {
        match states {
            TextStates::Penultimate => Self::Penultimate,
            TextStates::Last => Self::Last,
        }
    }
}

impl PromptNetConfig {
    /// Reads the config from the file `path`.
    ///
    /// # Errors
    /// When it is not JSON, lacks a key, contradicts itself, or asks for what the engine cannot do.
    pub fn read(path: &Path) -> Result<Self> {
        let mut raw: Value = crate::config::read(path)?;
        mirror_the_way_up(&mut raw);
        Self::parse(&raw).map_err(|message| EngineError::config(path, message))
    }

    /// That of a PromptNet for the base model's `unet`, text states of `text_dim` (with the blocks that `text_states`
    /// says), and vision tokens of `vision_dim`; for latents of the UNet's `sample_size`.
    ///
    /// # Errors
    /// When the UNet says no `sample_size`, or its latents cannot be halved as often as it halves them.
    pub fn for_unet(unet: &UNetConfig, text_dim: usize, vision_dim: usize, text_states: TextStates) -> Result<Self> {
        let Some(side) = unet.sample_size else {
            return Err(EngineError::argument("the UNet's config has no sample_size: PromptNet is made for one size"));
        };
        // As small as ProFusion's where latents are as large; never more than what leaves a map of one.
        let least = unet.latent_multiple();
        let downsample = if side >= 64 { least.max(8) } else { least };
        let config = Self {
            unet: UNetConfig { cross_attention_dim: unet.cross_attention_dim, cafe: None, ..unet.clone() },
            prompt_channel: text_dim,
            region_proj_channel: default_region_proj_channel(),
            region_kernel_size: side / downsample,
            region_downsample: Some(downsample),
            vision_dim: Some(vision_dim),
            use_clip_vision_embeds: false,
            with_noise: true,
            text_states,
        };
        config.check().map_err(EngineError::argument)?;
        Ok(config)
    }

    fn parse(raw: &Value) -> std::result::Result<Self, String> {
        let config: Self = serde_json::from_value(raw.clone()).map_err(|error| error.to_string())?;
        config.unet.check_part(raw)?;
        config.check()?;
        Ok(config)
    }

    /// Width of the vision tokens.
    #[must_use]
    pub fn vision_dim(&self) -> usize {
        self.vision_dim.unwrap_or(if self.use_clip_vision_embeds { 1280 } else { 1024 })
    }

    /// How many times smaller than the latents the heads' maps are.
    #[must_use]
    pub fn downsample(&self) -> usize {
        self.region_downsample.unwrap_or_else(|| self.unet.latent_multiple().max(8))
    }

    /// Side of the latents that become one token.
    #[must_use]
    pub fn latent_size(&self) -> usize {
        self.region_kernel_size.saturating_mul(self.downsample())
    }

    /// The kernels of the heads at each resolution, finest first; that of the middle is the last's.
    #[must_use]
    pub fn head_sizes(&self) -> Vec<usize> {
        let n_blocks = self.unet.block_out_channels.len();
        (1..=n_blocks).map(|halvings| self.downsample() >> halvings.min(n_blocks.saturating_sub(1))).collect()
    }

    /// What must be equal in it and in the base model's `unet`: key, its value, part, what that has.
    pub(super) fn fits(&self, unet: &UNetConfig) -> [(&'static str, usize, &'static str, usize); 2] {
        [
            ("in_channels", self.unet.in_channels, "the UNet takes", unet.in_channels),
            ("prompt_channel", self.prompt_channel, "the UNet takes", unet.cross_attention_dim),
        ]
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.unet.cafe.is_some() {
            return Err("`cafe` in a PromptNet: it is made of the base model's UNet".to_owned());
        }
        if !self.with_noise {
            return Err("with_noise is false: only a PromptNet that sees x_t is supported".to_owned());
        }
        for (key, number) in [
            ("prompt_channel", self.prompt_channel),
            ("region_proj_channel", self.region_proj_channel),
            ("region_kernel_size", self.region_kernel_size),
            ("vision_dim", self.vision_dim()),
        ] {
            if !(1..=1 << 20).contains(&number) {
                return Err(format!("{key} is {number}: it must be 1 to 1048576"));
            }
        }
        let (downsample, multiple) = (self.downsample(), self.unet.latent_multiple());
        if downsample == 0 || downsample > 1 << 20 || downsample % multiple != 0 {
            return Err(format!(
                "region_downsample is {downsample}: it must be a multiple of {multiple}, what the blocks halve to"
            ));
        }
        match self.unet.sample_size {
            Some(side) if side != self.latent_size() => Err(format!(
                "sample_size is {side}, and region_kernel_size {} times region_downsample {downsample} is {}: they must be \
                 equal, so that there is one token",
                self.region_kernel_size,
                self.latent_size()
            )),
            _ => Ok(()),
        }
    }
}

/// ProFusion's files do not name the blocks of the way up, which PromptNet has not.
fn mirror_the_way_up(raw: &mut Value) {
    let Some(object) = raw.as_object_mut() else { return };
    if object.get("up_block_types").is_none_or(Value::is_null) {
        let n_blocks = object.get("down_block_types").and_then(Value::as_array).map_or(0, Vec::len);
        object.insert("up_block_types".to_owned(), json!(vec!["UpBlock2D"; n_blocks]));
    }
}

fn default_prompt_channel() -> usize {
    1024
}

fn default_region_proj_channel() -> usize {
    128
}

fn eight() -> usize {
    8
}
