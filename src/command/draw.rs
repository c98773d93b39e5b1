//! How images are drawn, as the command line says it.

use cafe_engine::cafe::SamplerSettings;
use cafe_engine::noise::{Guidance, Order, SamplerKind};

use crate::cli::{DrawArgs, GuidanceForm, SamplerForm};

pub(super) fn settings(args: &DrawArgs) -> SamplerSettings {
    SamplerSettings {
        sampler: sampler(args),
        n_steps: args.steps.into(),
        eta: args.eta,
        guidance_rescale: args.guidance_rescale,
        size_px: args.size.map(|(height, width)| (height as usize, width as usize)),
    }
}

pub(super) fn guidance(args: &DrawArgs) -> Guidance {
    let (dino_scale, clip_scale) = (args.dino_scale, args.clip_scale);
    match args.guidance {
        GuidanceForm::None => Guidance::None,
        GuidanceForm::Joint => Guidance::Joint { scale: clip_scale },
        GuidanceForm::Nested => Guidance::Nested { dino_scale, clip_scale, order: Order::DinoFirst },
        GuidanceForm::Normalised => Guidance::Normalised { dino_scale, clip_scale },
        GuidanceForm::Independent => Guidance::Independent { dino_scale, clip_scale },
    }
}

pub(super) fn sampler(args: &DrawArgs) -> Option<SamplerKind> {
    args.sampler.map(|form| match form {
        SamplerForm::Ddim => SamplerKind::Ddim,
        SamplerForm::DpmSolver => SamplerKind::DpmSolver,
    })
}
