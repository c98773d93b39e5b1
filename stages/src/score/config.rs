//! The keys of a `score` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture::Limits;

/// Keys of a `score` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreConfig {
    /// The family whose encoders score: a folder or a name. Default: the manifest's `model_family`, else the bundled one.
    #[serde(default)]
    pub family: Option<String>,
    /// What is computed. Default: everything; with `roles = "judge"`, `clip` and `dino`.
    #[serde(default)]
    pub scorers: Option<Vec<Scorer>>,
    /// Which text the column `clip` is about; `clip_instruction` and `clip_caption` are stored anyway.
    #[serde(default)]
    pub clip_text: ClipText,
    /// Which encoders of the family score.
    #[serde(default)]
    pub roles: Roles,
    /// Pictures that a model is given at once. Changes no score; lower it where memory is short.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 512))]
    pub batch: u32,
    /// What pictures may be; others are quarantined.
    #[serde(default)]
    pub limits: Limits,
}

fn sixteen() -> u32 {
    16
}

/// A scorer: a node of its own. They are told apart by what they have to look at, not by column: CLIP's three scores
/// share one embedding of the candidate, which is nearly all of their cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scorer {
    /// Cosines of CLIP: `clip_instruction` and `clip_caption` between the candidate and its texts, `clip_image` between
    /// the candidate and its reference; `clip` is one of the first two.
    Clip,
    /// `dino`: cosine of DINO's class tokens of the candidate and its reference.
    Dino,
    /// `background_similarity`: how like the borders of the candidate are to those of its reference, 0 to 1.
    Background,
    /// `sharpness`: variance of the Laplacian of the candidate's luma.
    Sharpness,
    /// `phash`: a perceptual hash of the candidate, 16 hexadecimal digits.
    Phash,
}

impl Scorer {
    /// All of them, in the order of nodes and columns.
    pub const ALL: [Self; 5] = [Self::Clip, Self::Dino, Self::Background, Self::Sharpness, Self::Phash];

    /// The name of its node, after the stage's.
    #[must_use]
    pub fn part(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Dino => "dino",
            Self::Background => "background",
            Self::Sharpness => "sharpness",
            Self::Phash => "phash",
        }
    }
}

/// The text that `clip` compares the candidate with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClipText {
    /// The instruction, "Generate an image of this dog on the beach": what the paper says.
    #[default]
    Instruction,
    /// The caption, "a dog on the beach": what CLIP was trained on.
    Caption,
}

/// Which encoders of a family are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Roles {
    /// `clip_filter` and `dino_filter`: for filters.
    #[default]
    Filter,
    /// `clip_judge` and `dino_judge`: for evaluation only. Their columns are called `judge_clip`, `judge_dino`, ….
    Judge,
}

impl Roles {
    /// What column names begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Filter => "",
            Self::Judge => "judge_",
        }
    }

    /// The family's folder for CLIP or DINO.
    pub(super) fn folder(self, scorer: Scorer) -> Option<&'static str> {
        match (scorer, self) {
            (Scorer::Clip, Self::Filter) => Some("clip_filter"),
            (Scorer::Clip, Self::Judge) => Some("clip_judge"),
            (Scorer::Dino, Self::Filter) => Some("dino_filter"),
            (Scorer::Dino, Self::Judge) => Some("dino_judge"),
            _ => None,
        }
    }
}
