//! diffusers' `config.json` of an `AutoencoderKL`.

use std::path::Path;

use candle_core::Tensor;
use serde::Deserialize;

use crate::{EngineError, Result};

/// The shape of an [`AutoencoderKl`](super::AutoencoderKl), as diffusers' `config.json` says it; keys that are absent
/// have diffusers' defaults.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the pixels that are encoded: 3.
    pub in_channels: usize,
    /// Channels of the pixels that are decoded: 3.
    pub out_channels: usize,
    /// Channels of the levels, from the pixels down; each level after the first has half the height and width.
    /// SD2 has (128, 256, 512, 512).
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each level of the encoder; the decoder has one more. SD2 has 2.
    pub layers_per_block: usize,
    /// Channels of the latents: 4 in SD2.
    pub latent_channels: usize,
    /// Groups of all norms.
    pub norm_num_groups: usize,
    /// What latents are multiplied by before diffusion, so that their deviation is about one: 0.18215 in SD2.
    pub scaling_factor: f64,
    /// What is subtracted from latents before they are scaled; nothing in SD2.
    pub shift_factor: Option<f64>,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution comes before the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the lowest level has attention.
    pub mid_block_add_attention: bool,
    #[serde(rename = "_class_name")]
    class_name: Option<String>,
    act_fn: String,
    down_block_types: Option<Vec<String>>,
    up_block_types: Option<Vec<String>>,
    latents_mean: Option<serde_json::Value>,
    latents_std: Option<serde_json::Value>,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            class_name: None,
            act_fn: "silu".to_owned(),
            down_block_types: None,
            up_block_types: None,
            latents_mean: None,
            latents_std: None,
        }
    }
}

impl VaeConfig {
    /// Stable Diffusion 2's.
    #[must_use]
    pub fn sd2() -> Self {
        Self { block_out_channels: vec![128, 256, 512, 512], layers_per_block: 2, ..Self::default() }
    }

    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// When it cannot be read, is not valid, or asks for what is not supported.
    pub fn load(folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let json = std::fs::read(&file).map_err(|error| EngineError::io(&file, error))?;
        let config: Self = serde_json::from_slice(&json)
            .map_err(|error| EngineError::config(&file, format!("is not valid: {error}")))?;
        config.check().map_err(|message| EngineError::config(&file, message))?;
        Ok(config)
    }

    /// Pixels of height or width to one of the latents: 8 in SD2.
    #[must_use]
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len().max(1) - 1).min(usize::BITS as usize - 1)
    }

    /// Latents of the encoder to those of the diffusion: (z − `shift_factor`)·`scaling_factor`, any shape.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn scale_latents(&self, latents: &Tensor) -> Result<Tensor> {
        let scale = self.scaling_factor;
        Ok(latents.affine(scale, -scale * self.shift_factor.unwrap_or(0.0))?)
    }

    /// Latents of the diffusion to those of the decoder: z/`scaling_factor` + `shift_factor`, any shape.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn unscale_latents(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.affine(1.0 / self.scaling_factor, self.shift_factor.unwrap_or(0.0))?)
    }

    /// What is not supported, with key and value.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Self { block_out_channels: channels, norm_num_groups: n_groups, act_fn, .. } = self;
        if let Some(name) = self.class_name.as_deref().filter(|name| *name != "AutoencoderKL") {
            return Err(format!("_class_name = \"{name}\" is not supported; supported is AutoencoderKL"));
        }
        if act_fn != "silu" && act_fn != "swish" {
            return Err(format!("act_fn = \"{act_fn}\" is not supported; supported is silu"));
        }
        check_types("down_block_types", self.down_block_types.as_deref(), "DownEncoderBlock2D", channels.len())?;
        check_types("up_block_types", self.up_block_types.as_deref(), "UpDecoderBlock2D", channels.len())?;
        for (key, value) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            if let Some(value) = value {
                return Err(format!("{key} = {value} is not supported; supported is null, with scaling_factor"));
            }
        }
        if channels.is_empty() || channels.len() > 16 {
            return Err(format!("block_out_channels = {channels:?} is not supported; 1 to 16 levels are"));
        }
        if *n_groups == 0 || channels.iter().any(|n_channels| *n_channels == 0 || n_channels % n_groups != 0) {
            return Err(format!(
                "norm_num_groups = {n_groups} does not divide all of block_out_channels = {channels:?}"
            ));
        }
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
        ] {
            if value == 0 {
                return Err(format!("{key} = 0 is not supported; at least 1 is"));
            }
        }
        if !self.scaling_factor.is_normal() {
            return Err(format!("scaling_factor = {} cannot be divided by", self.scaling_factor));
        }
        Ok(())
    }
}

fn check_types(
    key: &str,
    types: Option<&[String]>,
    supported: &str,
    n_levels: usize,
) -> std::result::Result<(), String> {
    match types {
        Some(types) if types.len() != n_levels || types.iter().any(|name| name != supported) => Err(format!(
            "{key} = {types:?} is not supported; supported is {supported}, once for each level ({n_levels})"
        )),
        _ => Ok(()),
    }
}
