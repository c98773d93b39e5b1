//! The arguments of the subcommands that run models.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct FamilyArg {
    /// The model family: a folder with one folder for each role (`clip_condition`, `dino_condition`, `text_to_image`,
    /// `cafe_unet`, `promptnet`, `mllm`), in Hugging Face layout; or the name of a fetched one; default: the bundled `mini`.
    #[arg(long, env = "CAFE_FAMILY", value_name = "DIR|NAME")]
    pub(crate) family: Option<PathBuf>,
}

/// How an image is drawn.
#[derive(Clone, Debug, Args)]
pub(crate) struct DrawArgs {
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
    /// Height and width of the image in pixels; default: what the model was trained for.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
}

/// How the assistant speaks.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpeakArgs {
    /// The language model that the family's `mllm` was trained with, in Hugging Face layout, or the name of a fetched one; default:
    /// the family's `mllm/base`, else a fetched one.
    #[arg(long, env = "CAFE_LLM", value_name = "DIR|NAME")]
    pub(crate) llm: Option<PathBuf>,
    /// The longest reply, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) max_new_tokens: u32,
    /// How freely words are chosen: 0 takes the likeliest.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = parse_weight)]
    pub(crate) temperature: f64,
    /// Chooses among so many of the likeliest tokens; 0: among all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: u32,
    /// Chooses among the fewest tokens that have this share of the probability.
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = parse_share)]
    pub(crate) top_p: f64,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("donor").required(true).multiple(true))]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) family: FamilyArg,
    /// The reference image x, whose subject is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// The image w, which the result shall be like.
    #[arg(long, value_name = "FILE", group = "donor")]
    pub(crate) like: Option<PathBuf>,
    /// What the result shall show: w is made of it by the base text-to-image model. What the user says, with --assistant.
    #[arg(long, value_name = "TEXT", group = "donor")]
    pub(crate) prompt: Option<String>,
    /// The assistant reads image and prompt, replies, and what it has understood is drawn.
    #[arg(long, requires = "prompt")]
    pub(crate) assistant: bool,
    /// Share of w in the CLIP condition, αF(w) + (1−α)F(x): 0 is all x, 1 all w. With --assistant and --like, αF(w) + (1−α)H(s):
    /// 0 is all of what was said.
    #[arg(long, value_name = "A", default_value_t = 0.5, value_parser = parse_share)]
    pub(crate) alpha: f64,
    #[command(flatten)]
    pub(crate) draw: DrawArgs,
    #[command(flatten)]
    pub(crate) speak: SpeakArgs,
    /// Weight of the text, where w is made of a prompt.
    #[arg(long, value_name = "W", default_value_t = 7.5, value_parser = parse_weight)]
    pub(crate) text_scale: f64,
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
    #[arg(long, value_name = "FILE", requires = "prompt", conflicts_with = "assistant")]
    pub(crate) keep_donor: Option<PathBuf>,
    /// The PNG file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) family: FamilyArg,
    /// The image that is talked about: its subject is kept in all that is drawn.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// What the user says; may be given several times. Without it, lines are read from the terminal or from stdin.
    #[arg(long, value_name = "TEXT")]
    pub(crate) say: Vec<String>,
    /// Where images and the conversation, `chat.json`, are kept. One that is there already goes on.
    #[arg(short, long, value_name = "DIR", default_value = "cafe-chat")]
    pub(crate) output: PathBuf,
    /// Says, and draws nothing.
    #[arg(long)]
    pub(crate) text_only: bool,
    #[command(flatten)]
    pub(crate) draw: DrawArgs,
    #[command(flatten)]
    pub(crate) speak: SpeakArgs,
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

pub(super) fn parse_size(text: &str) -> Result<(u32, u32), String> {
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
