//! `train diffusion`: the UNet by Eq. 3.

use std::path::Path;

use cafe_engine::cafe::{Family, Role};
use cafe_engine::train::{Decay, DiffusionParts, DiffusionSettings, DiffusionTrainer, LearningRate, TrainSettings};
use cafe_engine::unet::Trainable;
use cafe_engine::weights::Metadata;
use cafe_engine::{Device, EngineError};
use cafe_pipeline::stage::Cancel;
use cafe_stages::training_pairs::TrainingPairs;
use serde_json::{Map, Value, json};

use super::encode::encode;
use super::initial::parts;
use super::record::{LossCurve, keep_settings, output};
use crate::cli::{self, TrainDiffusionArgs, Trains};
use crate::failure::Failure;
use crate::progress::steps;

/// Interrupted by a signal; the same command goes on.
const INTERRUPTED: u8 = 130;

pub(super) fn run(args: &TrainDiffusionArgs, cancel: &Cancel) -> Result<u8, Failure> {
    std::fs::create_dir_all(&args.output).map_err(|error| output(&args.output, &error))?;
    let family = Family::open(&args.family.family)?;
    let pairs = TrainingPairs::open(&args.pairs)
        .map_err(|error| Failure::usage(error.to_string(), "name a release, or a Parquet file of pairs"))?;
    let settings = settings(args);
    let parts = parts(args, &family, &pairs)?;
    let size_px = size_px(args, &parts)?;
    keep_settings(&args.output, &record(args, &settings, &parts, &pairs, size_px)?)?;
    let Some(encoded) = encode(&pairs, &family, size_px, &args.output.join("encoded"), cancel)? else {
        return Ok(INTERRUPTED);
    };
    let mut trainer = DiffusionTrainer::new(parts, settings, &Device::Cpu)?;
    let resume = args.output.join("resume");
    trainer.trainer_mut().restore(&resume)?;
    let mut curve = LossCurve::open(&args.output, trainer.trainer().n_done())?;
    let shown = steps("train");
    while !trainer.trainer().is_done() {
        if cancel.is_cancelled() {
            trainer.trainer().save(&resume)?;
            return Ok(INTERRUPTED);
        }
        let report = trainer.step(&encoded)?;
        curve.add(&report)?;
        shown.at(usize::try_from(report.step).unwrap_or(usize::MAX), args.steps as usize);
        shown.say(format!("train, loss {:.4}", report.loss));
        if report.step % u64::from(args.save_every) == 0 || trainer.trainer().is_done() {
            trainer.trainer().save(&resume)?;
        }
    }
    drop(shown);
    export(&trainer, args)?;
    Ok(0)
}

fn settings(args: &TrainDiffusionArgs) -> DiffusionSettings {
    let train = TrainSettings {
        n_steps: args.steps.into(),
        batch_size: args.batch_size as usize,
        n_accumulate: args.accumulate as usize,
        learning_rate: LearningRate {
            base: args.learning_rate,
            warm_up_steps: args.warm_up.into(),
            decay: match args.decay {
                cli::Decay::Constant => Decay::Constant,
                cli::Decay::Cosine => Decay::Cosine,
            },
            total_steps: args.steps.into(),
        },
        weight_decay: args.weight_decay,
        max_gradient_norm: args.max_gradient_norm,
        ema_decay: args.ema,
        seed: args.seed,
    };
    DiffusionSettings {
        train,
        drop_probability: args.drop,
        trainable: match args.trainable {
            Trains::All => Trainable::All,
            Trains::Attn2 => Trainable::Attn2,
            Trains::NewKv => Trainable::NewKv,
        },
    }
}

/// Height and width of the images.
fn size_px(args: &TrainDiffusionArgs, parts: &DiffusionParts) -> Result<(u32, u32), Failure> {
    let factor = u32::try_from(parts.vae.factor()).unwrap_or(u32::MAX);
    let trained = parts.unet.sample_size.and_then(|size| u32::try_from(size).ok()?.checked_mul(factor));
    let size = args.size.or(trained.map(|side| (side, side)));
    let (height, width) = size
        .ok_or_else(|| Failure::usage("the UNet's config has no sample_size", "give the images' size: --size HxW"))?;
    let multiple = factor.saturating_mul(u32::try_from(parts.unet.latent_multiple()).unwrap_or(u32::MAX));
    if height % multiple != 0 || width % multiple != 0 {
        let message = format!("images of {height}x{width} px: this model takes multiples of {multiple}");
        return Err(Failure::usage(message, "give another --size"));
    }
    Ok((height, width))
}

/// All that decides the result.
fn record(
    args: &TrainDiffusionArgs,
    settings: &DiffusionSettings,
    parts: &DiffusionParts,
    pairs: &TrainingPairs,
    (height, width): (u32, u32),
) -> Result<Map<String, Value>, Failure> {
    let internal = |error: serde_json::Error| Failure::Internal(error.to_string());
    let mut record = Map::new();
    if let Value::Object(settings) = serde_json::to_value(settings).map_err(internal)? {
        record.extend(settings);
    }
    let read = pairs.fingerprint().map_err(|error| Failure::usage(error.to_string(), "name other pairs"))?;
    record.insert("pairs".to_owned(), json!(read));
    record.insert("n_pairs".to_owned(), json!(pairs.n_rows()));
    record.insert("size_px".to_owned(), json!([height, width]));
    record.insert("unet".to_owned(), serde_json::to_value(&parts.unet).map_err(internal)?);
    let from = parts.weights.file().file_name().map(|name| name.to_string_lossy().into_owned());
    record.insert("from_base".to_owned(), json!(args.from_base));
    record.insert("init".to_owned(), json!(args.init));
    record.insert(
        "weights".to_owned(),
        json!({ "file": from, "digest": parts.weights.digest().map_err(EngineError::from)? }),
    );
    Ok(record)
}

fn export(trainer: &DiffusionTrainer, args: &TrainDiffusionArgs) -> Result<(), Failure> {
    let folder = args.output.join(Role::CafeUNet.folder());
    let facts = Metadata::from([
        ("writer".to_owned(), format!("cafe-data {}", env!("CARGO_PKG_VERSION"))),
        ("seed".to_owned(), args.seed.to_string()),
    ]);
    trainer.export(&folder, &facts)?;
    say(&folder)
}

/// stdout is data: where the weights are.
fn say(folder: &Path) -> Result<(), Failure> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{}", folder.display())?;
    Ok(())
}
