//! `config.json` of CLIP, with the defaults of HF transformers: published configs leave keys out.

use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::config::{Size, unsupported};

/// `CLIPVisionConfig` of HF transformers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClipVisionConfig {
    /// C, the width of a token.
    pub hidden_size: usize,
    /// The MLP's inner width.
    pub intermediate_size: usize,
    /// The embedding's width. That of the whole model counts, where there is one.
    pub projection_dim: usize,
    /// How many blocks.
    pub num_hidden_layers: usize,
    /// How many heads share C.
    pub num_attention_heads: usize,
    /// 3: red, green, blue.
    pub num_channels: usize,
    /// The side of a picture, in pixels.
    pub image_size: Size,
    /// The side of a patch, in pixels.
    pub patch_size: Size,
    /// The MLP's activation: OpenAI's is `quick_gelu`, OpenCLIP's is `gelu`.
    pub hidden_act: String,
    /// Added to variances.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: Size::Square(224),
            patch_size: Size::Square(32),
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// `CLIPTextConfig` of HF transformers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClipTextConfig {
    /// How many tokens are known.
    pub vocab_size: usize,
    /// C, the width of a token.
    pub hidden_size: usize,
    /// The MLP's inner width.
    pub intermediate_size: usize,
    /// The embedding's width. That of the whole model counts, where there is one.
    pub projection_dim: usize,
    /// How many blocks.
    pub num_hidden_layers: usize,
    /// How many heads share C.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// The MLP's activation: OpenAI's is `quick_gelu`, OpenCLIP's is `gelu`.
    pub hidden_act: String,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// The token that ends a text, where its embedding is taken. 2 is a mistake of old configs: it stands for the token of
    /// the largest id.
    pub eos_token_id: u32,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
}

/// `CLIPConfig`: both towers. The `_dict` twins are of old versions, and win over the others.
#[derive(Deserialize)]
struct Both {
    vision_config: Option<ClipVisionConfig>,
    vision_config_dict: Option<ClipVisionConfig>,
    text_config: Option<ClipTextConfig>,
    text_config_dict: Option<ClipTextConfig>,
    projection_dim: Option<usize>,
}

#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
}

fn is_nested(path: &Path, alone: &str) -> Result<bool> {
    match crate::config::read::<Kind>(path)?.model_type.as_deref() {
        Some("clip") | None => Ok(true),
        Some(kind) if kind == alone => Ok(false),
        Some(kind) => Err(unsupported(path, "model_type", format!("\"{kind}\""), &format!("\"clip\" or \"{alone}\""))),
    }
}

/// The image tower's part of the config at `path`, of both towers or of this alone.
pub(super) fn vision(path: &Path) -> Result<ClipVisionConfig> {
    if !is_nested(path, "clip_vision_model")? {
        return crate::config::read(path);
    }
    let both: Both = crate::config::read(path)?;
    let config = both.vision_config_dict.or(both.vision_config).unwrap_or_default();
    Ok(ClipVisionConfig { projection_dim: both.projection_dim.unwrap_or(512), ..config })
}

/// The text tower's part of the config at `path`, of both towers or of this alone.
pub(in crate::encoder) fn text(path: &Path) -> Result<ClipTextConfig> {
    if !is_nested(path, "clip_text_model")? {
        return crate::config::read(path);
    }
    let both: Both = crate::config::read(path)?;
    let config = both.text_config_dict.or(both.text_config).unwrap_or_default();
    Ok(ClipTextConfig { projection_dim: both.projection_dim.unwrap_or(512), ..config })
}
