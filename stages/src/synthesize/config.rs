//! The keys of a `synthesize` stage.

use cafe_engine::language::Sampling;
use cafe_engine::profusion::{FusionSettings, TuneSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assistant::ReplySettings;
use crate::drawing::{GuidanceConfig, SamplingConfig};
use crate::retrieve::half_an_hour;

/// Keys of a `synthesize` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SynthesizeConfig {
    /// The model family: a folder, or a name. Default: the manifest's `model_family`, else the bundled `mini`.
    #[serde(default)]
    pub family: Option<String>,
    /// What makes the images.
    pub generator: GeneratorConfig,
    /// Images of each pair (of each α and w, where there are any), each from noise of its own.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub samples: u32,
    /// The round of self-distillation that they belong to: 0 before anything was distilled.
    #[serde(default)]
    pub round: u32,
    /// Longest time that one row may take; then its process is taken for hung.
    #[serde(default = "half_an_hour")]
    #[schemars(range(min = 1))]
    pub deadline_secs: u64,
}

/// What makes the images.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum GeneratorConfig {
    /// CAFE's own model by Eq. 4, of references and `donors`.
    Sid {
        /// Shares α of F(w): 0 is all x, 1 all w. Several are swept, from the same noise.
        alphas: Vec<f64>,
        /// Whose weights the UNet has.
        #[serde(default, skip_serializing_if = "WeightsConfig::are_the_familys")]
        weights: WeightsConfig,
        /// How the two conditions are guided.
        #[serde(default)]
        guidance: GuidanceConfig,
        /// How images are drawn.
        #[serde(default)]
        sampling: SamplingConfig,
    },
    /// ProFusion: tuned to each reference once, then sampled with its pairs' captions.
    Profusion {
        /// Steps of tuning to a reference; 0 leaves the models as they are.
        #[serde(default = "usual_iterations")]
        #[schemars(range(max = 100_000))]
        iterations: u32,
        /// Altered pictures that are tuned to beside the reference.
        #[serde(default = "usual_augmentations")]
        #[schemars(range(max = 4096))]
        augmentations: u32,
        /// Pairs in a step of tuning.
        #[serde(default = "usual_batch")]
        #[schemars(range(min = 1, max = 4096))]
        batch_size: u32,
        /// Learning rate of the tuning.
        #[serde(default = "usual_rate")]
        #[schemars(range(min = 0.0, max = 1.0))]
        learning_rate: f64,
        /// How images are sampled.
        #[serde(default)]
        fusion: FusionConfig,
    },
    /// CAFE's whole model, of references and pairs: the assistant sees the reference, is told the pair's words and replies, and what
    /// it has understood, H(s), takes the place of F(w) in Eq. 4. The family needs a folder `mllm`; the bundled one has none.
    Assistant {
        /// What the assistant is told.
        #[serde(default)]
        text: Told,
        /// How the assistant replies; replies are kept in `candidate_replies`.
        #[serde(default)]
        reply: ReplyConfig,
        /// The language model that the family's `mllm` was trained with: a folder, or a name. Default: the family's `mllm/base`.
        // What it is stands among the digests of the weights, wherever it is.
        #[serde(default, skip_serializing)]
        llm: Option<String>,
        /// Shares α of H(s): 1 is all that was understood, 0 all x. Several are swept, from the same replies and noise.
        #[serde(default = "all_understood")]
        alphas: Vec<f64>,
        /// How the two conditions are guided.
        #[serde(default)]
        guidance: GuidanceConfig,
        /// How images are drawn.
        #[serde(default)]
        sampling: SamplingConfig,
    },
}

/// The words of a pair that the assistant is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The command form: "Generate an image of this dog on the beach."
    #[default]
    Instruction,
    /// The caption form: "a dog on the beach".
    Caption,
}

impl Told {
    /// The column of `pairs`.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Instruction => "instruction",
            Self::Caption => "caption",
        }
    }
}

/// How the assistant replies.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplyConfig {
    /// The longest reply, in tokens.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_tokens: u32,
    /// How freely words are chosen: 0 takes the likeliest, and all samples of a pair then have one reply.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f64,
    /// Chooses among so many of the likeliest tokens; 0: among all.
    pub top_k: u32,
    /// Chooses among the fewest tokens that have this share of the probability.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
}

impl Default for ReplyConfig {
    fn default() -> Self {
        Self { max_tokens: 128, temperature: 0.0, top_k: 0, top_p: 1.0 }
    }
}

impl ReplyConfig {
    /// The engine's settings.
    pub(super) fn settings(self) -> ReplySettings {
        ReplySettings {
            sampling: Sampling { temperature: self.temperature, top_k: self.top_k as usize, top_p: self.top_p },
            max_tokens: self.max_tokens as usize,
        }
    }
}

/// Whose weights CAFE's UNet has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightsConfig {
    /// The family's `cafe_unet`.
    #[default]
    Family,
    /// Those of the nearest `train` stage upstream: a further round of self-distillation.
    Trained,
}

impl WeightsConfig {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
    fn are_the_familys(&self) -> bool {
        *self == Self::Family
    }
}

/// How ProFusion samples. The defaults are those of its own example.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FusionConfig {
    /// Steps of DDIM.
    #[schemars(range(min = 1, max = 1000))]
    pub steps: u32,
    /// How much the subject counts.
    pub subject_scale: f64,
    /// How much the caption with a mere noun in the subject's place counts.
    pub noun_scale: f64,
    /// How often each step is refined.
    #[schemars(range(max = 16))]
    pub refine: u32,
    /// Weight of the refinement.
    pub refine_scale: f64,
    /// What the subject's token is multiplied by in a refinement: 0.4 to 0.9 are useful.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
}

impl Default for FusionConfig {
    fn default() -> Self {
        let FusionSettings { n_steps, subject_scale, noun_scale, n_refine, refine_scale, gamma, .. } =
            FusionSettings::notebook();
        Self { steps: n_steps, subject_scale, noun_scale, refine: n_refine, refine_scale, gamma }
    }
}

impl FusionConfig {
    /// The engine's settings.
    pub(super) fn settings(&self) -> FusionSettings {
        FusionSettings {
            n_steps: self.steps,
            subject_scale: self.subject_scale,
            noun_scale: self.noun_scale,
            n_refine: self.refine,
            refine_scale: self.refine_scale,
            gamma: self.gamma,
            ..FusionSettings::notebook()
        }
    }
}

fn one() -> u32 {
    1
}

fn all_understood() -> Vec<f64> {
    vec![1.0]
}

fn usual_iterations() -> u32 {
    u32::try_from(TuneSettings::default().n_iterations).unwrap_or(u32::MAX)
}

fn usual_augmentations() -> u32 {
    TuneSettings::default().n_augmentations
}

fn usual_batch() -> u32 {
    u32::try_from(TuneSettings::default().batch_size).unwrap_or(u32::MAX)
}

fn usual_rate() -> f64 {
    TuneSettings::default().learning_rate
}
