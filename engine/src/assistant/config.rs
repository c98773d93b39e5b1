//! What V, H and the learnable token are made for.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cafe::{Family, Role};
use crate::error::{EngineError, Result};

/// What `model_type` is.
const MODEL_TYPE: &str = "cafe_mllm";

/// Where the learnable token stands. The paper does not say: see the facts of Eq. 2 in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenAfter {
    /// After the conversation, before the reply: the picture can be drawn while the reply is written.
    Prompt,
    /// After the reply: the picture is of what was said.
    #[default]
    Response,
}

/// d of Eq. 2, between H(s) and F(x~) (Table 4 of the paper).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// The mean of the squared differences.
    #[default]
    Mse,
    /// Minus the cosine. H(s) then has a direction alone: it is given the length that F has, see
    /// [`AdapterConfig::condition_norm`].
    Cosine,
}

/// The `config.json` of the folder `mllm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// `cafe_mllm`.
    pub model_type: String,
    /// Digest of the language model's weights: projections mean nothing to another.
    pub base_digest: String,
    /// Width of the language model, C.
    pub hidden_size: usize,
    /// Width of E's tokens, `D_dino`.
    pub vision_hidden_size: usize,
    /// Width of F's embeddings, `D_clip`.
    pub projection_dim: usize,
    /// Squares of this many patches on a side become one image token, their mean: 1 takes every patch.
    #[serde(default = "one")]
    pub image_pool: usize,
    /// Where the learnable token stands.
    #[serde(default)]
    pub token_after: TokenAfter,
    /// d of Eq. 2.
    #[serde(default)]
    pub distance: Distance,
    /// The length that H(s) is given, where training fixed its direction alone: the mean ‖F(x~)‖ of the training's pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_norm: Option<f64>,
    /// What the system says at the beginning of each conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

fn one() -> usize {
    1
}

impl AdapterConfig {
    /// For a language model of width `hidden_size` and weights of digest `base_digest`, an E of width `vision_hidden_size`, and
    /// an F of width `projection_dim`; all else as the paper has it, or may have it.
    #[must_use]
    pub fn new(base_digest: String, hidden_size: usize, (projection_dim, vision_hidden_size): (usize, usize)) -> Self {
        Self {
            model_type: MODEL_TYPE.to_owned(),
            base_digest,
            hidden_size,
            vision_hidden_size,
            projection_dim,
            image_pool: 1,
            token_after: TokenAfter::default(),
            distance: Distance::default(),
            condition_norm: None,
            system: None,
        }
    }

    /// Reads the file `path`.
    ///
    /// # Errors
    /// When it cannot be read, or a value cannot be used.
    pub fn read(path: &Path) -> Result<Self> {
        let config: Self = crate::config::read(path)?;
        config.check(path)?;
        Ok(config)
    }

    /// Checks that E and F of a family, of the widths `D_clip` and `D_dino`, are those that the adapter was trained with; `path` is
    /// its config.
    ///
    /// # Errors
    /// When one has another width.
    pub fn check_encoders(&self, (clip_dim, dino_dim): (usize, usize), path: &Path) -> Result<()> {
        let of_clip = ("projection_dim", self.projection_dim, Role::ClipCondition, clip_dim);
        let of_dino = ("vision_hidden_size", self.vision_hidden_size, Role::DinoCondition, dino_dim);
        Family::check_widths(path, [of_clip, of_dino])
    }

    /// # Errors
    /// When a value cannot be used; `path` is named.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let refuse = |key: &str, found: &dyn std::fmt::Display, wanted: &str| {
            Err(EngineError::config(path, format!("key `{key}` is {found}: {wanted}")))
        };
        if self.model_type != MODEL_TYPE {
            return refuse("model_type", &self.model_type, "the projections of a language model have `cafe_mllm`");
        }
        for (key, value) in [
            ("hidden_size", self.hidden_size),
            ("vision_hidden_size", self.vision_hidden_size),
            ("projection_dim", self.projection_dim),
            ("image_pool", self.image_pool),
        ] {
            if value == 0 || value > 1 << 20 {
                return refuse(key, &value, "a width of 1 to 1048576 is expected");
            }
        }
        match self.condition_norm {
            Some(norm) if !(norm.is_finite() && norm > 0.0) => refuse("condition_norm", &norm, "it must be above 0"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl Fn(&mut AdapterConfig)) -> String {
        let mut config = AdapterConfig::new("d".to_owned(), 4, (2, 3));
        change(&mut config);
        config.check(Path::new("mllm/config.json")).unwrap_err().to_string()
    }

    #[test]
    fn values_are_checked() {
        assert!(refusal(|config| config.model_type = "llama".to_owned()).contains("`model_type` is llama"));
        assert!(refusal(|config| config.image_pool = 0).contains("mllm/config.json: key `image_pool` is 0"));
        assert!(refusal(|config| config.condition_norm = Some(-1.0)).contains("`condition_norm` is -1"));
    }

    #[test]
    fn a_config_is_read_as_it_was_written() {
        let config = AdapterConfig {
            condition_norm: Some(2.5),
            token_after: TokenAfter::Prompt,
            distance: Distance::Cosine,
            ..AdapterConfig::new("d".to_owned(), 4, (2, 3))
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(AdapterConfig::read(&path).unwrap(), config);
        std::fs::write(&path, r#"{"model_type": "cafe_mllm", "token_after": "later"}"#).unwrap();
        assert!(AdapterConfig::read(&path).unwrap_err().to_string().contains("key `token_after`"));
    }
}
