//! What the commands that train have in common: the pairs, the settings, and what is said of them.

use std::path::Path;

use cafe_engine::EngineError;
use cafe_engine::train::{Decay, LearningRate, TrainSettings};
use cafe_engine::weights::{Metadata, Weights};
use cafe_stages::training_pairs::{TrainingPairs, Wanted};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::record::output;
use crate::cli::{self, TrainArgs};
use crate::failure::Failure;
use crate::progress::steps;

/// Opens the pairs, and makes the folder of the training.
pub(super) fn open(args: &TrainArgs, wanted: Wanted) -> Result<TrainingPairs, Failure> {
    let pairs = TrainingPairs::open(&args.pairs, wanted)
        .map_err(|error| Failure::usage(error.to_string(), "name a release, or a Parquet file of pairs"))?;
    std::fs::create_dir_all(&args.output).map_err(|error| output(&args.output, &error))?;
    Ok(pairs)
}

pub(super) fn settings(args: &TrainArgs) -> TrainSettings {
    TrainSettings {
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
    }
}

/// All that decides the result, as far as every training has it.
pub(super) fn record(
    settings: &impl Serialize,
    pairs: &TrainingPairs,
    start: &Weights,
) -> Result<Map<String, Value>, Failure> {
    let mut record = Map::new();
    let settings = serde_json::to_value(settings).map_err(|error| Failure::Internal(error.to_string()))?;
    if let Value::Object(settings) = settings {
        record.extend(settings);
    }
    let read = pairs.fingerprint().map_err(|error| Failure::usage(error.to_string(), "name other pairs"))?;
    record.insert("pairs".to_owned(), json!(read));
    record.insert("n_pairs".to_owned(), json!(pairs.n_rows()));
    let from = start.file().file_name().map(|name| name.to_string_lossy().into_owned());
    let digest = start.digest().map_err(EngineError::from)?;
    record.insert("weights".to_owned(), json!({ "file": from, "digest": digest }));
    Ok(record)
}

/// A bar for what is done now; nothing where stderr is no terminal.
pub(super) fn shown() -> impl Fn(&str, usize, usize) {
    let bar = steps("train");
    move |what, n_done, n_steps| {
        bar.say(what.to_owned());
        bar.at(n_done, n_steps);
    }
}

/// What the weights say of who made them.
pub(super) fn facts(args: &TrainArgs) -> Metadata {
    Metadata::from([
        ("writer".to_owned(), format!("cafe-data {}", env!("CARGO_PKG_VERSION"))),
        ("seed".to_owned(), args.seed.to_string()),
    ])
}

/// stdout is data: where the weights are.
pub(super) fn say(folder: &Path) -> Result<(), Failure> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{}", folder.display())?;
    Ok(())
}
