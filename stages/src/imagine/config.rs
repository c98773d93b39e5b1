//! The keys of an `imagine` stage.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::collect::Splits;
use crate::drawing::SamplingConfig;
use crate::retrieve::half_an_hour;

/// Keys of an `imagine` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagineConfig {
    /// The model family: a folder, or a name. Default: the manifest's `model_family`, else the bundled `mini`.
    #[serde(default)]
    pub family: Option<String>,
    /// What is drawn.
    #[schemars(length(min = 1))]
    pub classes: Vec<String>,
    /// How it is asked for, with `{class}` in the place of the class; each for every class.
    #[serde(default = "plain_prompt")]
    #[schemars(length(min = 1))]
    pub prompts: Vec<String>,
    /// Images of each class and prompt, each from noise of its own.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub samples: u32,
    /// Weight of the prompt: 1 is what the model predicts.
    #[serde(default = "usual_scale")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub text_scale: f64,
    /// How images are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// What becomes of an image that CLIP takes for another of the classes.
    #[serde(default)]
    pub wrong_class: Unfit,
    /// The check that an image shows one subject, by a detector of objects; left out, none is made. Where there is one, images are drawn
    /// by a node of their own: a check that changes draws nothing again. A stage that gets its first check does.
    #[serde(default)]
    pub single_subject: Option<SingleSubject>,
    /// The licence that the images are given: what a model drew has none of itself.
    #[serde(default)]
    pub licence: Option<String>,
    /// Shares of the subjects that go to each split, by a stable hash. Each image is a subject.
    #[serde(default)]
    pub splits: Splits,
    /// Longest time that one image may take; then its process is taken for hung.
    #[serde(default = "half_an_hour")]
    #[schemars(range(min = 1))]
    pub deadline_secs: u64,
}

/// The check that an image shows exactly one subject.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingleSubject {
    /// The detector: a folder with `model.onnx`, `config.json` and `preprocessor_config.json`, as optimum exports DETR, YOLOS and
    /// Conditional DETR; or the name of a model of the role `detector`.
    pub detector: String,
    /// Objects of this score or more are found. Default: what the detector's documentation takes, 0.9 for DETR and YOLOS, 0.5 for
    /// Conditional DETR.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_score: Option<f64>,
    /// What the detector calls a class: `{ toy = "teddy bear" }`. Of a class that is named here only objects so called count, and a table
    /// under a vase is no second subject; of others all objects count.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Classes that are not checked, since the detector does not know them.
    #[serde(default)]
    pub except: Vec<String>,
    /// What becomes of an image that shows no subject, or several.
    #[serde(default)]
    pub otherwise: Unfit,
}

/// What becomes of an image that does not pass a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// It is quarantined, with the reason.
    #[default]
    Quarantine,
    /// It stays.
    Keep,
}

fn plain_prompt() -> Vec<String> {
    vec!["a {class}".to_owned()]
}

fn one() -> u32 {
    1
}

fn usual_scale() -> f64 {
    7.5
}
