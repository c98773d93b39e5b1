//! `generate`: one image of the subject of another (Eq. 4).

use std::io::{Write, stdout};
use std::path::Path;

use cafe_engine::Device;
use cafe_engine::cafe::{CafeEngine, Family, SamplerSettings, Source, TextToImage};
use cafe_engine::noise::{Guidance, Order, SamplerKind};
use image::RgbImage;
use serde_json::json;

use super::pictures;
use crate::cli::{GenerateArgs, GuidanceForm, SamplerForm};
use crate::failure::Failure;
use crate::progress::steps;

pub(super) fn run(args: &GenerateArgs) -> Result<u8, Failure> {
    let device = Device::Cpu;
    pictures::must_be_png(&args.output)?;
    if let Some(path) = &args.keep_donor {
        pictures::must_be_png(path)?;
    }
    let reference = pictures::read(&args.image)?;
    let (edited, mask) = (read_optional(args.edit.as_deref())?, read_optional(args.mask.as_deref())?);
    let family = Family::open(&args.family.family)?;
    let settings = SamplerSettings {
        sampler: args.sampler.map(sampler),
        n_steps: args.steps.into(),
        eta: args.eta,
        guidance_rescale: args.guidance_rescale,
        size_px: args.size.map(|(height, width)| (height as usize, width as usize)),
    };
    let donor = donor(args, &family, &settings, &device)?;
    if let Some(path) = &args.keep_donor {
        pictures::write(&donor, path)?;
    }
    let engine = CafeEngine::load(&family, &device)?;
    let guidance = guidance(args);
    let conditions = engine.conditions(&[reference], &[donor], args.alpha)?;
    let images = {
        let shown = steps("generate");
        let on_step = |done, of| shown.at(done, of);
        match &edited {
            Some(image) => {
                let (images, masks) = (std::slice::from_ref(image), mask.as_ref().map(std::slice::from_ref));
                let source = Source { images, strength: args.strength, masks };
                engine.edit(&source, &conditions, &[args.seed], &guidance, &settings, &on_step)?
            }
            None => engine.generate(&conditions, &[args.seed], &guidance, &settings, &on_step)?,
        }
    };
    for image in &images {
        pictures::write(image, &args.output)?;
    }
    report(args)?;
    Ok(0)
}

fn read_optional(path: Option<&Path>) -> Result<Option<RgbImage>, Failure> {
    path.map(pictures::read).transpose()
}

/// w: given, or made of the prompt.
fn donor(
    args: &GenerateArgs,
    family: &Family,
    settings: &SamplerSettings,
    device: &Device,
) -> Result<RgbImage, Failure> {
    if let Some(path) = &args.like {
        return pictures::read(path);
    }
    let prompt = args.prompt.clone().unwrap_or_default();
    // Loaded and let go before CAFE's own UNet: one of them at a time is large enough.
    let base = TextToImage::load(family, device)?;
    let shown = steps("text to image");
    let images = base.generate(&[prompt], &[args.seed], args.text_scale, settings, &|done, of| shown.at(done, of))?;
    images.into_iter().next().ok_or_else(|| Failure::Internal("the base model made no image".to_owned()))
}

fn guidance(args: &GenerateArgs) -> Guidance {
    match args.guidance {
        GuidanceForm::None => Guidance::None,
        GuidanceForm::Joint => Guidance::Joint { scale: args.clip_scale },
        GuidanceForm::Nested => {
            Guidance::Nested { dino_scale: args.dino_scale, clip_scale: args.clip_scale, order: Order::DinoFirst }
        }
        GuidanceForm::Normalised => Guidance::Normalised { dino_scale: args.dino_scale, clip_scale: args.clip_scale },
        GuidanceForm::Independent => Guidance::Independent { dino_scale: args.dino_scale, clip_scale: args.clip_scale },
    }
}

fn sampler(form: SamplerForm) -> SamplerKind {
    match form {
        SamplerForm::Ddim => SamplerKind::Ddim,
        SamplerForm::DpmSolver => SamplerKind::DpmSolver,
    }
}

/// stdout is data: what made the image.
fn report(args: &GenerateArgs) -> Result<(), Failure> {
    let made = json!({
        "output": args.output,
        "image": args.image,
        "like": args.like,
        "prompt": args.prompt,
        "alpha": args.alpha,
        "seed": args.seed,
        "sampler": args.sampler.map(sampler),
        "steps": args.steps,
        "eta": args.eta,
        "guidance": guidance(args),
        "guidance_rescale": args.guidance_rescale,
        "edit": args.edit,
        "strength": args.edit.as_ref().map(|_| args.strength),
        "mask": args.mask,
        "text_scale": args.prompt.as_ref().map(|_| args.text_scale),
    });
    writeln!(stdout().lock(), "{made}")?;
    Ok(())
}
