//! `train diffusion`: the UNet by Eq. 3.

use cafe_engine::cafe::Family;
use cafe_engine::train::DiffusionSettings;
use cafe_engine::unet::Trainable;
use cafe_pipeline::stage::Cancel;
use cafe_stages::train::{self, Diffusion, DiffusionPlan, Start};
use cafe_stages::training_pairs::Wanted;
use serde_json::json;

use super::record::keep_settings;
use super::{INTERRUPTED, run_loop};
use crate::cli::{Initialiser, TrainDiffusionArgs, Trains};
use crate::failure::Failure;
use crate::models::resolve;

pub(super) fn run(args: &TrainDiffusionArgs, cancel: &Cancel) -> Result<u8, Failure> {
    let common = &args.train;
    let pairs = run_loop::open(common, Wanted::Pairs)?;
    let family: Family = resolve::family(common.family.family.as_deref())?;
    let plan = plan(args);
    let shown = run_loop::shown();
    let watch = train::Watch { cancel, told: &shown };
    let training = Diffusion { family: &family, pairs: &pairs, plan: &plan, folder: &common.output, watch };
    let (parts, size_px) = training.begin()?;
    let mut record = run_loop::record(&plan.settings, &pairs, &parts.weights)?;
    record.insert("size_px".to_owned(), json!([size_px.0, size_px.1]));
    record.insert("unet".to_owned(), json!(parts.unet));
    record.insert("from_base".to_owned(), json!(plan.start.from_base));
    record.insert("init".to_owned(), json!(plan.start.init));
    keep_settings(&common.output, &record)?;
    let Some(folder) = training.run(parts, size_px, &run_loop::facts(common))? else { return Ok(INTERRUPTED) };
    run_loop::say(&folder)?;
    Ok(0)
}

fn plan(args: &TrainDiffusionArgs) -> DiffusionPlan {
    let settings = DiffusionSettings {
        train: run_loop::settings(&args.train),
        drop_probability: args.drop,
        min_snr_gamma: args.min_snr_gamma,
        trainable: match args.trainable {
            Trains::All => Trainable::All,
            Trains::Attn2 => Trainable::Attn2,
            Trains::NewKv => Trainable::NewKv,
        },
    };
    let init = match args.init {
        Initialiser::Orthogonal => train::Initialiser::Orthogonal,
        Initialiser::Ridge => train::Initialiser::Ridge,
    };
    let start = Start { from_base: args.from_base, init, clip_tokens: args.clip_tokens };
    DiffusionPlan { settings, start, size_px: args.size, save_every: args.train.save_every }
}
