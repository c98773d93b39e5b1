//! `profusion`: a picture of the subject of one, by test-time tuning.

use std::io::Write;

use cafe_engine::Device;
use cafe_engine::cafe::{Family, Role};
use cafe_engine::profusion::{
    FusionSettings, ProFusionEngine, ProFusionFolders, ProFusionSettings, TuneCache, TuneSettings,
};
use image::DynamicImage;
use serde_json::json;

use super::pictures;
use crate::cli::{Preset, ProFusionArgs};
use crate::failure::Failure;
use crate::models::resolve;
use crate::progress::steps;

pub(super) fn run(args: &ProFusionArgs) -> Result<u8, Failure> {
    pictures::must_be_png(&args.output)?;
    let image = pictures::read(&args.image)?;
    let mask = args.mask.as_deref().map(pictures::read).transpose()?;
    let mask = mask.map(|mask| DynamicImage::from(mask).into_luma8());
    let family = resolve::family(args.family.family.as_deref())?;
    let engine = ProFusionEngine::load(&folders(&family), &Device::Cpu)?;
    // A prompt without a slot is told now, and not after a tuning.
    engine.text().prompt(&args.prompt, true)?;
    let tuning = tuning(args);
    let cache = args.cache.as_deref().map(TuneCache::open).transpose()?;
    let subject = if args.iterations == 0 {
        engine.untuned(&image, &args.noun)?
    } else {
        let shown = steps("tune");
        let on_step = |step: u64, loss: f64| {
            shown.at(usize::try_from(step).unwrap_or(usize::MAX), args.iterations as usize);
            shown.say(format!("tune, loss {loss:.4}"));
        };
        engine.tune(&image, mask.as_ref(), &args.noun, &tuning, cache.as_ref(), &on_step)?
    };
    let settings = ProFusionSettings { fusion: fusion(args), ..ProFusionSettings::default() };
    let shown = steps("generate");
    let made = engine.generate(&subject, &[], &args.prompt, &[args.seed], &settings, &|done, of| shown.at(done, of))?;
    drop(shown);
    for image in &made {
        pictures::write(image, &args.output)?;
    }
    let made = json!({
        "output": args.output,
        "image": args.image,
        "mask": args.mask,
        "noun": args.noun,
        "prompt": args.prompt,
        "seed": args.seed,
        "tuning": (args.iterations > 0).then_some(tuning),
        "weights": subject.fingerprint,
        "weights_were_found": subject.was_found,
        "fusion": settings.fusion,
    });
    writeln!(std::io::stdout().lock(), "{made}")?;
    Ok(0)
}

/// Where a family has ProFusion's models.
pub(super) fn folders(family: &Family) -> ProFusionFolders {
    let promptnet = family.folder(Role::PromptNet);
    ProFusionFolders {
        base: family.folder(Role::TextToImage),
        image_encoder: promptnet.join("image_encoder"),
        promptnet,
    }
}

fn tuning(args: &ProFusionArgs) -> TuneSettings {
    TuneSettings {
        n_augmentations: args.augmentations,
        n_iterations: args.iterations.into(),
        batch_size: args.batch_size as usize,
        learning_rate: args.learning_rate,
        seed: args.seed,
        ..TuneSettings::default()
    }
}

fn fusion(args: &ProFusionArgs) -> FusionSettings {
    let preset = match args.preset {
        Preset::Notebook => FusionSettings::notebook(),
        Preset::Plain => FusionSettings::default(),
    };
    FusionSettings { n_steps: args.steps, gamma: args.gamma.unwrap_or(preset.gamma), ..preset }
}
