//! ProFusion (arXiv 2305.13579): pictures of a subject under prompts, of one picture of it. CAFE makes its first training
//! pairs so.
//!
//! [`PromptNet`] makes a token S* of a picture, which takes the place of a word in a prompt ([`SubjectText`]); it is
//! trained on pictures alone ([`subject_loss`], [`PromptNetTrainer`]), tuned to the one picture ([`tune`]), and [`Fusion`] samples.
//! [`ProFusionEngine`] composes all of it.

mod augment;
mod base;
mod cache;
mod config;
mod encoder;
mod engine;
mod fusion;
mod init;
mod loss;
mod promptnet;
mod settings;
mod text;
mod trainer;
mod tune;

pub use self::augment::{AugmentSettings, mini_set};
pub use self::base::ProFusionFolders;
pub use self::cache::{TuneCache, fingerprint};
pub use self::config::{PromptNetConfig, TextStates};
pub use self::encoder::SubjectEncoder;
pub use self::engine::{ProFusionEngine, ProFusionSettings, Subject};
pub use self::fusion::{DrawNoise, Drawn, Fusion, FusionTexts, Reference, Refinement};
pub use self::init::from_unet;
pub use self::loss::{SubjectBatch, SubjectDraw, SubjectModels, TRAINING_PROMPT, subject_loss};
pub use self::promptnet::PromptNet;
pub use self::settings::FusionSettings;
pub use self::text::{HOLDER, SubjectPrompt, SubjectText};
pub use self::trainer::PromptNetTrainer;
pub use self::tune::{MiniSet, OnTuneStep, TuneBase, TuneSettings, is_tuned, tune};

#[cfg(test)]
mod tests;
