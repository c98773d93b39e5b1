//! The arguments of the subcommands that run models.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct FamilyArg {
    /// The model family: a folder with one folder for each role (`clip_condition`, `dino_condition`, `text_to_image`,
    /// `cafe_unet`, `promptnet`), in Hugging Face layout.
    #[arg(long, env = "CAFE_FAMILY", value_name = "DIR")]
    pub(crate) family: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("donor").required(true))]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) family: FamilyArg,
    /// The reference image x, whose subject is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// The image w, which the result shall be like.
    #[arg(long, value_name = "FILE", group = "donor")]
    pub(crate) like: Option<PathBuf>,
    /// What the result shall show: w is made of it by the base text-to-image model.
    #[arg(long, value_name = "TEXT", group = "donor")]
    pub(crate) prompt: Option<String>,
    /// Share of w in the CLIP condition, αF(w) + (1−α)F(x): 0 is all x, 1 all w.
    #[arg(long, value_name = "A", default_value_t = 0.5, value_parser = parse_share)]
    pub(crate) alpha: f64,
    /// Seed of the noise: the same seed makes the same image.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How noise is taken away; default: what the family's `scheduler_config.json` asks for.
    #[arg(long, value_enum)]
    pub(crate) sampler: Option<SamplerForm>,
    /// Steps of the sampler: 50 of ddim are usual, 20 of dpm-solver++.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) steps: u16,
    /// Noise that DDIM adds: 0 none, 1 as much as DDPM.
    #[arg(long, value_name = "E", default_value_t = 0.0, value_parser = parse_share)]
    pub(crate) eta: f64,
    /// How the two conditions are guided.
    #[arg(long, value_enum, default_value_t = GuidanceForm::Nested)]
    pub(crate) guidance: GuidanceForm,
    /// Weight of the DINO condition, in every guidance but joint.
    #[arg(long, value_name = "W", default_value_t = 1.5, value_parser = parse_weight)]
    pub(crate) dino_scale: f64,
    /// Weight of the CLIP condition; of both in joint guidance.
    #[arg(long, value_name = "W", default_value_t = 7.5, value_parser = parse_weight)]
    pub(crate) clip_scale: f64,
    /// How far guidance is brought back to the contrast of an image without: 0 not at all, 1 all the way.
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = parse_share)]
    pub(crate) guidance_rescale: f64,
    /// Weight of the text, where w is made of a prompt.
    #[arg(long, value_name = "W", default_value_t = 7.5, value_parser = parse_weight)]
    pub(crate) text_scale: f64,
    /// Height and width of the image in pixels; default: what the model was trained for.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
    /// An image to change: the result starts from it, noised, in place of noise alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) edit: Option<PathBuf>,
    /// How much of that image is made anew: 0 nothing, 1 all of it.
    #[arg(long, value_name = "S", default_value_t = 0.75, value_parser = parse_share, requires = "edit")]
    pub(crate) strength: f64,
    /// What of that image is made anew: an image that is white there, and black where it stays.
    #[arg(long, value_name = "FILE", requires = "edit")]
    pub(crate) mask: Option<PathBuf>,
    /// Where w is written, if it is made of a prompt.
    #[arg(long, value_name = "FILE", requires = "prompt")]
    pub(crate) keep_donor: Option<PathBuf>,
    /// The PNG file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The GGUF file of a Llama, SmolLM2 for example.
    #[arg(long, value_name = "FILE")]
    pub(crate) gguf: PathBuf,
    /// The folder to make.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuidanceForm {
    /// DINO against nothing, then CLIP against DINO alone (the form of InstructPix2Pix).
    Nested,
    /// As nested, but the longer of the two differences is shortened to the other's length (SynCD).
    Normalised,
    /// Each condition alone against nothing (the form of ProFusion).
    Independent,
    /// Both conditions against nothing.
    Joint,
    /// No guidance: one evaluation a step.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SamplerForm {
    /// DDIM: first order, with new noise or without.
    Ddim,
    /// DPM-Solver++ 2M: second order, for fewer steps.
    #[value(name = "dpm-solver++")]
    DpmSolver,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// The UNet: to predict the noise in x~, given E(x) and F(x~) (Eq. 3). Goes on where it was stopped.
    Diffusion(TrainDiffusionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TrainDiffusionArgs {
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
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch_size: u32,
    /// Batches in an optimiser step.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) accumulate: u32,
    /// Highest learning rate.
    #[arg(long, value_name = "F", default_value_t = 2e-5, value_parser = parse_weight)]
    pub(crate) learning_rate: f64,
    /// How the learning rate goes on after the warm-up.
    #[arg(long, value_enum, default_value_t = Decay::Constant)]
    pub(crate) decay: Decay,
    /// Steps in which the learning rate rises from nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) warm_up: u32,
    /// AdamW's weight decay.
    #[arg(long, value_name = "F", default_value_t = 1e-2, value_parser = parse_weight)]
    pub(crate) weight_decay: f64,
    /// Largest norm of the gradient.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = parse_weight)]
    pub(crate) max_gradient_norm: f64,
    /// Probability with which each of the two conditions is dropped.
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = parse_share)]
    pub(crate) drop: f64,
    /// Decay of the running mean of the weights, which is what is saved in the end; 0 saves the weights themselves.
    #[arg(long, value_name = "F", default_value_t = 0.9999, value_parser = parse_share)]
    pub(crate) ema: f64,
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
    /// Seed of all that is drawn.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps after which what is needed to go on is saved.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) save_every: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Decay {
    /// It stays.
    Constant,
    /// It falls to nothing along a cosine.
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
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

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is expected".to_owned()),
    }
}

pub(super) fn parse_weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        _ => Err("a number from 0 on is expected".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    sides
        .filter(|(height, width)| (1..=8192).contains(height) && (1..=8192).contains(width))
        .ok_or_else(|| "write HEIGHTxWIDTH in pixels, for example 512x512".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!(parse_size("256x512"), Ok((256, 512)));
        assert!(["512", "0x8", "8x", "9000x8", "-1x3"].iter().all(|text| parse_size(text).is_err()));
        assert_eq!(parse_share("0.25"), Ok(0.25));
        assert!(["-0.1", "1.5", "NaN", "x"].iter().all(|text| parse_share(text).is_err()));
        assert!(["-1", "inf", "NaN"].iter().all(|text| parse_weight(text).is_err()));
    }
}
