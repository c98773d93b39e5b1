//! `generate`: an image of the subject of another.

use std::io::{Write, stdout};
use std::path::Path;

use cafe_engine::cafe::{CafeEngine, Family, SamplerSettings, Source, TextToImage, mix};
use cafe_engine::language::Message;
use cafe_engine::noise::Noise;
use cafe_engine::unet::CafeConditioning;
use cafe_engine::{Device, EngineError};
use image::RgbImage;
use serde_json::json;

use super::{draw, pictures, speak};
use crate::cli::GenerateArgs;
use crate::failure::Failure;
use crate::models::resolve;
use crate::progress::steps;

pub(super) fn run(args: &GenerateArgs) -> Result<u8, Failure> {
    if args.like.is_some() && args.prompt.is_some() && !args.assistant {
        let message = "--like cannot be used with --prompt: both say what w is";
        return Err(Failure::usage(message, "give one of them, or --assistant, who reads the prompt"));
    }
    pictures::must_be_png(&args.output)?;
    if let Some(path) = &args.keep_donor {
        pictures::must_be_png(path)?;
    }
    let reference = pictures::read(&args.image)?;
    let (edited, mask) = (read_optional(args.edit.as_deref())?, read_optional(args.mask.as_deref())?);
    let like = read_optional(args.like.as_deref())?;
    let family = resolve::family(args.family.family.as_deref())?;
    let settings = draw::settings(&args.draw);
    let (engine, conditions, said) = if args.assistant {
        let engine = CafeEngine::load(&family, &Device::Cpu)?;
        let (conditions, said) = understood(args, &family, &engine, &reference, like)?;
        (engine, conditions, Some(said))
    } else {
        let donor = match like {
            Some(donor) => donor,
            None => made_donor(args, &family, &settings)?,
        };
        if let Some(path) = &args.keep_donor {
            pictures::write(&donor, path)?;
        }
        let engine = CafeEngine::load(&family, &Device::Cpu)?;
        let conditions = engine.conditions(&[reference], &[donor], args.alpha)?;
        (engine, conditions, None)
    };
    let guidance = draw::guidance(&args.draw);
    let images = {
        let shown = steps("generate");
        let on_step = |done, of| shown.at(done, of);
        let seeds = [args.draw.seed];
        match &edited {
            Some(image) => {
                let (images, masks) = (std::slice::from_ref(image), mask.as_ref().map(std::slice::from_ref));
                let source = Source { images, strength: args.strength, masks };
                engine.edit(&source, &conditions, &seeds, &guidance, &settings, &on_step)?
            }
            None => engine.generate(&conditions, &seeds, &guidance, &settings, &on_step)?,
        }
    };
    for image in &images {
        pictures::write(image, &args.output)?;
    }
    report(args, said.as_deref())?;
    Ok(0)
}

fn read_optional(path: Option<&Path>) -> Result<Option<RgbImage>, Failure> {
    path.map(pictures::read).transpose()
}

/// What the assistant understands, and what it says.
fn understood(
    args: &GenerateArgs,
    family: &Family,
    engine: &CafeEngine,
    reference: &RgbImage,
    like: Option<RgbImage>,
) -> Result<(CafeConditioning, String), Failure> {
    let assistant = speak::load(&args.speak, family, engine)?;
    let dino = engine.encoders().dino(std::slice::from_ref(reference))?; // (1, 1 + N, D_dino)
    let conversation = vec![Message::new("user", args.prompt.clone().unwrap_or_default())];
    // As in the first round of a chat.
    let noise = Noise::new(args.draw.seed).of("reply").at(0);
    let reply = speak::reply(&assistant, &args.speak, conversation, &dino, &noise)?;
    let said = reply.condition.unsqueeze(0).map_err(EngineError::from)?; // (1, D_clip)
    let clip = match like {
        Some(donor) => mix(&engine.encoders().clip(&[donor])?, &said, args.alpha)?,
        None => said,
    };
    Ok((CafeConditioning { clip, dino }, reply.text))
}

/// w, made of the prompt.
fn made_donor(args: &GenerateArgs, family: &Family, settings: &SamplerSettings) -> Result<RgbImage, Failure> {
    let prompt = args.prompt.clone().unwrap_or_default();
    // Loaded and let go before CAFE's own UNet: one of them at a time is large enough.
    let base = TextToImage::load(family, &Device::Cpu)?;
    let shown = steps("text to image");
    let on_step = |done, of| shown.at(done, of);
    let images = base.generate(&[prompt], &[args.draw.seed], args.text_scale, settings, &on_step)?;
    images.into_iter().next().ok_or_else(|| Failure::Internal("the base model made no image".to_owned()))
}

/// stdout is data: what made the image.
fn report(args: &GenerateArgs, said: Option<&str>) -> Result<(), Failure> {
    let is_donor_made = args.prompt.is_some() && !args.assistant;
    let made = json!({
        "output": args.output,
        "image": args.image,
        "like": args.like,
        "prompt": args.prompt,
        "reply": said,
        "alpha": args.alpha,
        "seed": args.draw.seed,
        "sampler": draw::sampler(&args.draw),
        "steps": args.draw.steps,
        "eta": args.draw.eta,
        "guidance": draw::guidance(&args.draw),
        "guidance_rescale": args.draw.guidance_rescale,
        "edit": args.edit,
        "strength": args.edit.as_ref().map(|_| args.strength),
        "mask": args.mask,
        "text_scale": is_donor_made.then_some(args.text_scale),
    });
    writeln!(stdout().lock(), "{made}")?;
    Ok(())
}
