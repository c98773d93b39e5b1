//! The arguments of `profusion`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::model::{FamilyArg, parse_share, parse_weight};

#[derive(Debug, Args)]
pub(crate) struct ProFusionArgs {
    #[command(flatten)]
    pub(crate) family: FamilyArg,
    /// The picture of the subject.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// Where the subject is in it: an image that is white there; default: all of the picture.
    #[arg(long, value_name = "FILE")]
    pub(crate) mask: Option<PathBuf>,
    /// What kind of thing the subject is: `dog`.
    #[arg(long, value_name = "NOUN")]
    pub(crate) noun: String,
    /// What is made, with the word `holder` in the subject's place: `a holder on the beach`.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Seed of the noise, and of the tuning.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps of tuning to the picture; 0 leaves the models as they are.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub(crate) iterations: u32,
    /// Pairs in a step of tuning.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch_size: u32,
    /// Altered pictures that are tuned to beside the original.
    #[arg(long, value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u32).range(..=4096))]
    pub(crate) augmentations: u32,
    /// Learning rate of the tuning.
    #[arg(long, value_name = "F", default_value_t = 2e-5, value_parser = parse_weight)]
    pub(crate) learning_rate: f64,
    /// A folder where tuned weights are kept, and found again.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Steps of DDIM.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) steps: u32,
    /// Weights of the conditions, and how often fusion refines a step.
    #[arg(long, value_enum, default_value_t = Preset::Notebook)]
    pub(crate) preset: Preset,
    /// What the state of the subject's token is multiplied by where a step is refined; default: the preset's.
    #[arg(long, value_name = "G", value_parser = parse_share)]
    pub(crate) gamma: Option<f64>,
    /// The PNG file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// ProFusion's own example: both prompts count, each step is refined once.
    Notebook,
    /// The defaults of ProFusion's pipeline: no refinement, the conditions taken for independent.
    Plain,
}
