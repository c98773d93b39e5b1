//! The keys of a `filter` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tables;

/// Keys of a `filter` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// The table whose rows are judged: `candidates` (default), `pairs` or `references`.
    #[serde(default = "default_reads")]
    pub reads: String,
    /// Rules, checked in this order; the first that fails is the reason.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// Rules with a name, checked before the others.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// What becomes of a row of which a score is missing or not a number.
    #[serde(default)]
    pub missing: Missing,
}

/// A rule: bounds of a score, or an expression over scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum RuleConfig {
    /// `{ column = "clip", min = 0.3 }`
    Bounds {
        /// A column of `scores`.
        column: String,
        /// Least score that is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// Greatest score that is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
    /// `{ expr = "sharpness > 10 AND brightness < 250" }`
    Expression {
        /// A condition in SQL, true for a row that is accepted.
        expr: String,
        /// What stands as the reason; default: the expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

/// Rules with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// The paper's: CLIP ViT-B/32 image–text at least 0.3, then DINO ViT-S/16 image–image at least 0.6. Of use only with
    /// scores by these weights.
    #[serde(rename = "cafe-2023")]
    Cafe2023,
}

impl Preset {
    /// What it stands for.
    #[must_use]
    pub fn rules(self) -> Vec<RuleConfig> {
        let least = |column: &str, min| RuleConfig::Bounds { column: column.to_owned(), min: Some(min), max: None };
        match self {
            Self::Cafe2023 => vec![least("clip", 0.3), least("dino", 0.6)],
        }
    }
}

/// What becomes of a row of which a score is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is rejected.
    #[default]
    Reject,
    /// It is quarantined.
    Error,
}

fn default_reads() -> String {
    tables::CANDIDATES.to_owned()
}
