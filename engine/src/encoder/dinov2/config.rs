//! `config.json` of DINOv2.

use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::config::{Size, unsupported};
use crate::encoder::vit::{Activation, Geometry, check_heads};

/// `Dinov2Config` of HF transformers, with its defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Dinov2Config {
    /// `dinov2`.
    pub model_type: String,
    /// C, the width of a token.
    pub hidden_size: usize,
    /// How many blocks.
    pub num_hidden_layers: usize,
    /// How many heads share C.
    pub num_attention_heads: usize,
    /// The MLP's width, as a multiple of C.
    pub mlp_ratio: f64,
    /// The MLP's activation, unless it is SwiGLU.
    pub hidden_act: String,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// The side of the pictures whose positions were learned, in pixels.
    pub image_size: Size,
    /// The side of a patch, in pixels.
    pub patch_size: Size,
    /// 3: red, green, blue.
    pub num_channels: usize,
    /// Whether query, key and value have biases.
    pub qkv_bias: bool,
    /// Whether the MLP is SwiGLU: in giant.
    pub use_swiglu_ffn: bool,
    /// Registers (arXiv 2309.16588): not supported.
    pub num_register_tokens: usize,
}

impl Default for Dinov2Config {
    fn default() -> Self {
        Self {
            model_type: "dinov2".to_owned(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            mlp_ratio: 4.0,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-6,
            image_size: Size::Square(224),
            patch_size: Size::Square(14),
            num_channels: 3,
            qkv_bias: true,
            use_swiglu_ffn: false,
            num_register_tokens: 0,
        }
    }
}

impl Dinov2Config {
    /// The MLP's inner width; that of one of the two halves if it is SwiGLU.
    #[must_use]
    pub fn mlp_width(&self) -> usize {
        let width = (self.hidden_size as f64 * self.mlp_ratio) as usize;
        match self.use_swiglu_ffn {
            // Two thirds, since there are three matrices and not two, and a multiple of eight.
            true => (width * 2 / 3).div_ceil(8) * 8,
            false => width,
        }
    }

    pub(super) fn check(&self, path: &Path) -> Result<(Geometry, Activation)> {
        if self.model_type != "dinov2" {
            let found = format!("\"{}\"", self.model_type);
            return Err(unsupported(path, "model_type", found, "\"dinov2\", without registers"));
        }
        if self.num_register_tokens > 0 {
            return Err(unsupported(path, "num_register_tokens", self.num_register_tokens, "0"));
        }
        if !(0.0..=64.0).contains(&self.mlp_ratio) {
            return Err(unsupported(path, "mlp_ratio", self.mlp_ratio, "0 to 64"));
        }
        check_heads(self.hidden_size, self.num_attention_heads, path)?;
        let geometry = Geometry::new(self.image_size, self.patch_size, path)?;
        Ok((geometry, Activation::from_config(&self.hidden_act, path)?))
    }
}
