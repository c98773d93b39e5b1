//! The keys of a `filter` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preset::Preset;
use crate::tables;

/// Keys of a `filter` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// The table whose rows are judged.
    #[serde(default)]
    pub reads: FilterTable,
    /// Rules that come before those of `rules`.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// The rules, tried in this order; the first that fails is the reason.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// What becomes of a row whose score is missing (null or NaN) where a rule, or the choice of the best, needs it.
    #[serde(default)]
    pub missing: Missing,
    /// Keeps the best of several candidates. Left out, all that pass the rules are kept.
    #[serde(default)]
    pub select: Option<SelectConfig>,
}

/// Keeps the best of several candidates: of those of one pair that pass the rules, and the filters before this one, one is
/// accepted. What the others cost stays in the books, and in what an accepted one costs. Candidates of two branches, of two
/// `synthesize` stages for example, do not compete: each branch has a filter, and keeps a best of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectConfig {
    /// Which candidates compete.
    pub best_of: Several,
    /// A number in SQL over score columns, the greatest is the best: `clip`, or `clip + 0.5 * dino`. Of equal ones, the one
    /// whose id sorts first is kept.
    pub by: String,
}

/// Candidates of which the best is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Several {
    /// Those of one pair: all w, all α, all samples.
    Pair,
    /// Those of one pair and one w: all α, all samples.
    Donor,
}

/// A table whose rows can be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterTable {
    /// Reference images.
    References,
    /// Instructions drawn for references.
    Pairs,
    /// Generated images.
    #[default]
    Candidates,
}

impl FilterTable {
    /// The table's name and its id column.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::References => (tables::REFERENCES, "reference_id"),
            Self::Pairs => (tables::PAIRS, "pair_id"),
            Self::Candidates => (tables::CANDIDATES, "candidate_id"),
        }
    }
}

/// A rule: `column` with `min`, `max` or both, or `expr`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The score column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The least value accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest value accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// A condition in SQL over score columns: `sharpness > 10 AND brightness < 250`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// What reasons call an `expr`; its text when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What becomes of a row without a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is rejected, with the reason `clip is missing`.
    #[default]
    Reject,
    /// It is quarantined.
    Error,
}
