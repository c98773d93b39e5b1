//! Which weights of the UNet a training changes.

use serde::{Deserialize, Serialize};

use crate::weights::Variables;

/// Which weights a training changes; recorded in the metadata of what it makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trainable {
    /// All of them.
    #[default]
    All,
    /// The cross-attentions, whole.
    Attn2,
    /// What CAFE added: keys and values of the two conditions, and the projection to CLIP tokens.
    NewKv,
}

impl Trainable {
    /// Its name in metadata and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Attn2 => "attn2",
            Self::NewKv => "new_kv",
        }
    }

    /// Whether it changes the tensor `name`.
    #[must_use]
    pub fn includes(self, name: &str) -> bool {
        let is_new = || {
            name.starts_with("clip_tokens.")
                || ["to_k_clip", "to_v_clip", "to_k_dino", "to_v_dino"]
                    .iter()
                    .any(|key| name.ends_with(&format!(".attn2.{key}.weight")))
        };
        match self {
            Self::All => true,
            Self::Attn2 => name.contains(".attn2.") || is_new(),
            Self::NewKv => is_new(),
        }
    }

    pub(super) fn variables(self) -> Variables {
        Variables::selected_by(move |name| self.includes(name))
    }
}
