//! The keys of a `train` stage.

use cafe_engine::train::{Decay, DiffusionSettings, LearningRate, TrainSettings};
use cafe_engine::unet::Trainable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diffusion::{DiffusionPlan, Initialiser, Start};

/// Keys of a `train` stage. Keys and defaults are those of `cafe-data train diffusion`.
// And yet a list of its own; a test of the command compares the two. Most of the command's is flattened, for three trainings to share it, and
// serde cannot refuse unknown keys of what is flattened.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The model family: a folder, or a name. Default: the manifest's `model_family`, else the bundled `mini`. Its `cafe_unet` is what the
    /// training begins with; where it has none, its base model.
    #[serde(default, skip_serializing)]
    pub family: Option<String>,
    /// The split of the release that is learned from.
    #[serde(default = "training_split")]
    pub split: String,
    /// Optimiser steps.
    #[serde(default = "a_thousand")]
    #[schemars(range(min = 1))]
    pub steps: u32,
    /// Pairs in a batch.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 4096))]
    pub batch_size: u32,
    /// Batches in an optimiser step.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4096))]
    pub accumulate: u32,
    /// Highest learning rate.
    #[serde(default = "usual_rate")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on after the warm-up.
    #[serde(default)]
    pub decay: DecayConfig,
    /// Steps in which the learning rate rises from nothing.
    #[serde(default)]
    pub warm_up: u32,
    /// AdamW's weight decay.
    #[serde(default = "usual_weight_decay")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    #[serde(default = "usual_norm")]
    #[schemars(range(min = 0.0))]
    pub max_gradient_norm: f64,
    /// Decay of the running mean of the weights, which is what is kept; 0 keeps the weights themselves.
    #[serde(default = "usual_ema")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ema: f64,
    /// Probability with which each of the two conditions is dropped.
    #[serde(default = "usual_drop")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub drop: f64,
    /// Bounds the weight of timesteps with little noise (min-SNR); 5 is usual. Without it all count alike, as in the paper.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_snr_gamma: Option<f64>,
    /// What is trained.
    #[serde(default)]
    pub trainable: TrainableConfig,
    /// Begins with the base model's UNet, its new keys and values made anew, even if the family has a `cafe_unet`.
    #[serde(default)]
    pub from_base: bool,
    /// How new keys and values are made there.
    #[serde(default)]
    pub init: Initialiser,
    /// Tokens that F(x) becomes there.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub clip_tokens: u32,
    /// Height and width of the images in pixels. Default: what the UNet was trained for.
    #[serde(default)]
    pub size_px: Option<[u32; 2]>,
    /// Steps after which what is needed to go on is saved.
    #[serde(default = "a_hundred", skip_serializing)]
    #[schemars(range(min = 1))]
    pub save_every: u32,
}

/// How the learning rate goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayConfig {
    /// It stays.
    #[default]
    Constant,
    /// It falls to nothing along a cosine.
    Cosine,
}

/// What is trained.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainableConfig {
    /// All weights.
    #[default]
    All,
    /// The cross-attentions.
    Attn2,
    /// The keys and values that CAFE adds.
    NewKv,
}

impl TrainConfig {
    /// The same for the engine.
    #[must_use]
    pub fn plan(&self, seed: u64) -> DiffusionPlan {
        let settings = DiffusionSettings {
            train: TrainSettings {
                n_steps: self.steps.into(),
                batch_size: self.batch_size as usize,
                n_accumulate: self.accumulate as usize,
                learning_rate: LearningRate {
                    base: self.learning_rate,
                    warm_up_steps: self.warm_up.into(),
                    decay: match self.decay {
                        DecayConfig::Constant => Decay::Constant,
                        DecayConfig::Cosine => Decay::Cosine,
                    },
                    total_steps: self.steps.into(),
                },
                weight_decay: self.weight_decay,
                max_gradient_norm: self.max_gradient_norm,
                ema_decay: self.ema,
                seed,
            },
            drop_probability: self.drop,
            trainable: match self.trainable {
                TrainableConfig::All => Trainable::All,
                TrainableConfig::Attn2 => Trainable::Attn2,
                TrainableConfig::NewKv => Trainable::NewKv,
            },
            min_snr_gamma: self.min_snr_gamma,
        };
        DiffusionPlan {
            settings,
            start: Start { from_base: self.from_base, init: self.init, clip_tokens: self.clip_tokens },
            size_px: self.size_px.map(|[height, width]| (height, width)),
            save_every: self.save_every,
        }
    }
}

fn training_split() -> String {
    "train".to_owned()
}

fn one() -> u32 {
    1
}

fn sixteen() -> u32 {
    16
}

fn a_hundred() -> u32 {
    100
}

fn a_thousand() -> u32 {
    1000
}

fn usual_rate() -> f64 {
    2e-5
}

fn usual_weight_decay() -> f64 {
    1e-2
}

fn usual_norm() -> f64 {
    1.0
}

fn usual_ema() -> f64 {
    0.9999
}

fn usual_drop() -> f64 {
    0.1
}
