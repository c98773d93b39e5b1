//! The UNet's `config.json`, as diffusers writes it, with CAFE's conditions beside it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{EngineError, Result};

/// `config.json` of a `UNet2DConditionModel` (diffusers, `models/unets/unet_2d_condition.py`).
///
/// Keys that the engine does not read are kept in files and ignored here, unless they ask for something it cannot do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UNetConfig {
    /// Channels of the latents that come in.
    #[serde(default = "four")]
    pub in_channels: usize,
    /// Channels of the prediction.
    #[serde(default = "four")]
    pub out_channels: usize,
    /// Height and width of the latents that it was trained for, in latent pixels.
    #[serde(default)]
    pub sample_size: Option<usize>,
    /// Channels at each resolution.
    pub block_out_channels: Vec<usize>,
    /// `CrossAttnDownBlock2D` or `DownBlock2D`, one for each resolution.
    pub down_block_types: Vec<DownBlockType>,
    /// `CrossAttnUpBlock2D` or `UpBlock2D`, one for each resolution, coarsest first.
    pub up_block_types: Vec<UpBlockType>,
    /// Residual blocks at each resolution; one more on the way up.
    #[serde(default = "two")]
    pub layers_per_block: usize,
    /// **Number** of heads, not their width: diffusers named it wrongly, and 40,000 configs follow it.
    #[serde(default = "eight")]
    pub attention_head_dim: PerBlock,
    /// Width of the text states; unused where `cafe` is given.
    #[serde(default = "default_cross_attention_dim")]
    pub cross_attention_dim: usize,
    /// Transformer blocks in each attention.
    #[serde(default = "one")]
    pub transformer_layers_per_block: PerBlock,
    /// Whether projections around the transformer are linear (SD2) or 1×1 convolutions (SD1).
    #[serde(default)]
    pub use_linear_projection: bool,
    /// Groups of each group norm.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// ε of the residual blocks' norms; the transformers' is 1e-6.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// Order of the timestep embedding's halves: cosines first where true.
    #[serde(default = "yes")]
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    #[serde(default)]
    pub freq_shift: f64,
    /// CAFE's conditions in place of text. Not a key of diffusers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cafe: Option<CafeConfig>,
}

/// What CAFE's decoupled cross-attention attends to (Eq. 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CafeConfig {
    /// Width of F(x): 768 for CLIP ViT-L/14.
    pub clip_dim: usize,
    /// Width of E(x)'s tokens: 1536 for DINOv2-giant.
    pub dino_dim: usize,
    /// Tokens that F(x) becomes. With the paper's one, attention to it is a constant, and its keys do nothing.
    #[serde(default = "one_token")]
    pub n_clip_tokens: usize,
}

/// One number for all resolutions, or one for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// For all.
    All(usize),
    /// One for each, finest first.
    Each(Vec<usize>),
}

impl PerBlock {
    /// The number at resolution `index`.
    pub(super) fn at(&self, index: usize) -> usize {
        match self {
            Self::All(number) => *number,
            Self::Each(numbers) => numbers.get(index).copied().unwrap_or_default(),
        }
    }

    fn fits(&self, n_blocks: usize) -> bool {
        match self {
            Self::All(number) => *number > 0,
            Self::Each(numbers) => numbers.len() == n_blocks && numbers.iter().all(|number| *number > 0),
        }
    }
}

/// A block on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are diffusers'")]
pub enum DownBlockType {
    CrossAttnDownBlock2D,
    DownBlock2D,
}

/// A block on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are diffusers'")]
pub enum UpBlockType {
    CrossAttnUpBlock2D,
    UpBlock2D,
}

impl UNetConfig {
    /// Reads the config from the file `path`.
    ///
    /// # Errors
    /// When it is not JSON, lacks a key, contradicts itself, or asks for what the engine cannot do.
    pub fn read(path: &Path) -> Result<Self> {
        let raw: Value = crate::config::read(path)?;
        refuse_unsupported(&raw).map_err(|message| EngineError::config(path, message))?;
        let config: Self = crate::config::read(path)?;
        config.check().map_err(|message| EngineError::config(path, message))?;
        Ok(config)
    }

    /// Checks what was read as a part of another model's config: `raw` are its keys. The error is a message.
    pub(crate) fn check_part(&self, raw: &Value) -> std::result::Result<(), String> {
        refuse_unsupported(raw)?;
        self.check()
    }

    /// Width of the timestep embedding.
    pub(super) fn time_embedding_dim(&self) -> usize {
        4 * self.block_out_channels.first().copied().unwrap_or_default()
    }

    /// Height and width of latents must be multiples of this: each resolution but the last halves them.
    #[must_use]
    pub fn latent_multiple(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let n_blocks = self.block_out_channels.len();
        if n_blocks == 0 || n_blocks > 16 {
            return Err(format!("block_out_channels has {n_blocks} entries: 1 to 16 are possible"));
        }
        for (key, found) in
            [("down_block_types", self.down_block_types.len()), ("up_block_types", self.up_block_types.len())]
        {
            if found != n_blocks {
                return Err(format!("{key} has {found} entries, block_out_channels {n_blocks}: they must be as many"));
            }
        }
        for (key, numbers) in [
            ("attention_head_dim", &self.attention_head_dim),
            ("transformer_layers_per_block", &self.transformer_layers_per_block),
        ] {
            if !numbers.fits(n_blocks) {
                return Err(format!("{key} must be a positive number, or {n_blocks} of them, one for each block"));
            }
        }
        for (index, channels) in self.block_out_channels.iter().enumerate() {
            let n_heads = self.attention_head_dim.at(index);
            if *channels == 0 || channels % 2 != 0 || channels % n_heads != 0 {
                return Err(format!(
                    "block_out_channels[{index}] is {channels}: not an even multiple of its {n_heads} heads"
                ));
            }
            if self.norm_num_groups == 0 || channels % self.norm_num_groups != 0 {
                let groups = self.norm_num_groups;
                return Err(format!(
                    "block_out_channels[{index}] is {channels}: not a multiple of norm_num_groups, {groups}"
                ));
            }
        }
        if self.layers_per_block == 0 || self.in_channels == 0 || self.out_channels == 0 {
            return Err("layers_per_block, in_channels and out_channels must be at least 1".to_owned());
        }
        match &self.cafe {
            Some(cafe) if cafe.clip_dim * cafe.dino_dim * cafe.n_clip_tokens == 0 => {
                Err("cafe.clip_dim, cafe.dino_dim and cafe.n_clip_tokens must be at least 1".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Keys of diffusers with the only values that the engine can do; a missing key or null is fine with all.
fn refuse_unsupported(raw: &Value) -> std::result::Result<(), String> {
    let no = || Value::Bool(false);
    let supported = [
        ("act_fn", Value::from("silu")),
        ("addition_embed_type", Value::Null),
        ("attention_type", Value::from("default")),
        ("center_input_sample", no()),
        ("class_embed_type", Value::Null),
        ("class_embeddings_concat", no()),
        ("conv_in_kernel", Value::from(3)),
        ("conv_out_kernel", Value::from(3)),
        ("cross_attention_norm", Value::Null),
        ("downsample_padding", Value::from(1)),
        ("dual_cross_attention", no()),
        ("encoder_hid_dim", Value::Null),
        ("encoder_hid_dim_type", Value::Null),
        ("mid_block_scale_factor", Value::from(1)),
        ("mid_block_type", Value::from("UNetMidBlock2DCrossAttn")),
        ("num_attention_heads", Value::Null),
        ("num_class_embeds", Value::Null),
        ("only_cross_attention", no()),
        ("resnet_out_scale_factor", Value::from(1.0)),
        ("resnet_skip_time_act", no()),
        ("resnet_time_scale_shift", Value::from("default")),
        ("reverse_transformer_layers_per_block", Value::Null),
        ("time_cond_proj_dim", Value::Null),
        ("time_embedding_act_fn", Value::Null),
        ("time_embedding_dim", Value::Null),
        ("time_embedding_type", Value::from("positional")),
        ("timestep_post_act", Value::Null),
    ];
    let same =
        |found: &Value, only: &Value| found == only || (found.as_f64().is_some() && found.as_f64() == only.as_f64());
    for (key, only) in supported {
        match raw.get(key) {
            None | Some(Value::Null) => {}
            Some(found) if same(found, &only) => {}
            Some(found) => return Err(format!("{key} is {found}: only {only} is supported")),
        }
    }
    Ok(())
}

fn four() -> usize {
    4
}

fn two() -> usize {
    2
}

fn eight() -> PerBlock {
    PerBlock::All(8)
}

fn one() -> PerBlock {
    PerBlock::All(1)
}

fn one_token() -> usize {
    1
}

fn thirty_two() -> usize {
    32
}

fn default_cross_attention_dim() -> usize {
    1280
}

fn default_norm_eps() -> f64 {
    1e-5
}

fn yes() -> bool {
    true
}
