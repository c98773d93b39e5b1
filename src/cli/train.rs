//! The arguments of `train`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::model::{FamilyArg, parse_share, parse_size, parse_weight};

#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// The UNet: to predict the noise in x~, given E(x) and F(x~) (Eq. 3). Goes on where it was stopped.
    Diffusion(TrainDiffusionArgs),
    /// ProFusion's PromptNet: to make a token of a picture by which the base model, frozen, predicts the noise in it. Goes on
    /// where it was stopped.
    #[command(name = "promptnet", mut_arg("batch_size", |arg| arg.default_value("8")))]
    PromptNet(TrainPromptNetArgs),
    /// The assistant: V, H and the learnable token, to say y~ and to know F(x~) (Eq. 2). Goes on where it was stopped.
    #[command(mut_arg("learning_rate", |arg| arg.default_value("2e-3")), mut_arg("ema", |arg| arg.default_value("0")))]
    #[command(mut_arg("decay", |arg| arg.default_value("cosine")), mut_arg("weight_decay", |arg| arg.default_value("0")))]
    Mllm(TrainMllmArgs),
}

/// What every training is told.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) family: FamilyArg,
    /// A Parquet file, or a folder of them, with the columns `reference_image` and `target_image`: a release, for example.
    #[arg(long, value_name = "PATH")]
    pub(crate) pairs: PathBuf,
    /// Where the weights, the loss curve and all that is needed to go on are written.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Optimiser steps in all.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: u32,
    /// Pairs in a batch.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch_size: u32,
    /// Batches in an optimiser step.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) accumulate: u32,
    /// Highest learning rate.
    #[arg(long, value_name = "F", default_value = "2e-5", value_parser = parse_weight)]
    pub(crate) learning_rate: f64,
    /// How the learning rate goes on after the warm-up.
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) decay: Decay,
    /// Steps in which the learning rate rises from nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) warm_up: u32,
    /// AdamW's weight decay.
    #[arg(long, value_name = "F", default_value = "1e-2", value_parser = parse_weight)]
    pub(crate) weight_decay: f64,
    /// Largest norm of the gradient.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = parse_weight)]
    pub(crate) max_gradient_norm: f64,
    /// Decay of the running mean of the weights, which is what is saved in the end; 0 saves the weights themselves.
    #[arg(long, value_name = "F", default_value = "0.9999", value_parser = parse_share)]
    pub(crate) ema: f64,
    /// Seed of all that is drawn.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps after which what is needed to go on is saved.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) save_every: u32,
}

#[derive(Debug, Args)]
pub(crate) struct TrainDiffusionArgs {
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// Probability with which each of the two conditions is dropped.
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = parse_share)]
    pub(crate) drop: f64,
    /// Bounds the weight of timesteps with little noise (min-SNR); 5 is usual. Without it all count alike, as in the paper.
    #[arg(long, value_name = "F", value_parser = parse_weight)]
    pub(crate) min_snr_gamma: Option<f64>,
    /// What is trained.
    #[arg(long, value_enum, default_value_t = Trains::All)]
    pub(crate) trainable: Trains,
    /// Starts from the base model's UNet, its new keys and values made anew, even if the family has a `cafe_unet`.
    #[arg(long)]
    pub(crate) from_base: bool,
    /// How new keys and values are made, where the UNet is made from the base model's.
    #[arg(long, value_enum, default_value_t = Initialiser::Orthogonal)]
    pub(crate) init: Initialiser,
    /// Tokens that F(x) becomes, where the UNet is made from the base model's.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) clip_tokens: u32,
    /// Height and width of the images in pixels; default: what the UNet was trained for.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
}

#[derive(Debug, Args)]
pub(crate) struct TrainPromptNetArgs {
    /// `target_image` is not needed here.
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// Starts from the base model's UNet, heads made anew, even if the family has a `promptnet`. Its `config.json` is taken if there
    /// is one.
    #[arg(long)]
    pub(crate) from_unet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrainMllmArgs {
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// The language model, in Hugging Face layout, or the name of a fetched one; default: the family's `mllm/base`,
    /// else a fetched one.
    #[arg(long, env = "CAFE_LLM", value_name = "DIR|NAME")]
    pub(crate) llm: Option<PathBuf>,
    /// Starts anew, even if the family has an `mllm`; the next four are then what it is made as.
    #[arg(long)]
    pub(crate) from_scratch: bool,
    /// Where the learnable token stands: after what the user says, or after the reply.
    #[arg(long, value_enum, default_value_t = TokenPlace::Response)]
    pub(crate) token_after: TokenPlace,
    /// How H(s) is compared with F(x~).
    #[arg(long, value_enum, default_value_t = DistanceForm::Mse)]
    pub(crate) distance: DistanceForm,
    /// Squares of so many patches on a side become one image token.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) image_pool: u32,
    /// What the system says at the beginning of each conversation; default: what the chat template says by itself.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// λ, the weight of the distance.
    #[arg(long, value_name = "F", default_value_t = 0.2, value_parser = parse_weight)]
    pub(crate) condition_weight: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenPlace {
    /// After the conversation: the image can be drawn while the reply is written.
    Prompt,
    /// After the reply: the image is of what was said.
    Response,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DistanceForm {
    /// The mean of the squared differences.
    Mse,
    /// Minus the cosine.
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Decay {
    /// It stays.
    Constant,
    /// It falls to nothing along a cosine.
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Initialiser {
    /// Random: the base model's, times an orthogonal projection.
    Orthogonal,
    /// Fitted to the captions of the pairs: the base model's, times the projection from what E and F see to its text states.
    Ridge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trains {
    /// All weights.
    All,
    /// The cross-attentions.
    Attn2,
    /// The keys and values that CAFE adds.
    #[value(name = "new_kv")]
    NewKv,
}
