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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cafe_stages::train::TrainConfig;
    use clap::{Args as _, Command, FromArgMatches as _};
    use schemars::schema_for;
    use serde_json::{Value, json};

    use super::plan;
    use crate::cli::TrainDiffusionArgs;

    fn command() -> Command {
        TrainDiffusionArgs::augment_args(Command::new("diffusion"))
    }

    fn told(args: &[&str]) -> TrainDiffusionArgs {
        let args = ["diffusion", "--pairs", "pairs", "--output", "made"].into_iter().chain(args.iter().copied());
        TrainDiffusionArgs::from_arg_matches(&command().try_get_matches_from(args).unwrap()).unwrap()
    }

    fn stage(config: Value) -> TrainConfig {
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn the_stage_trains_as_the_command_does() {
        assert_eq!(plan(&told(&[])), stage(json!({})).plan(0), "the defaults");
        let all = [
            ["--steps", "7"],
            ["--batch-size", "3"],
            ["--accumulate", "2"],
            ["--learning-rate", "0.001"],
            ["--decay", "cosine"],
            ["--warm-up", "4"],
            ["--weight-decay", "0.5"],
            ["--max-gradient-norm", "2"],
            ["--ema", "0.25"],
            ["--seed", "9"],
            ["--save-every", "5"],
            ["--drop", "0.2"],
            ["--min-snr-gamma", "6"],
            ["--trainable", "new_kv"],
            ["--init", "ridge"],
            ["--clip-tokens", "8"],
            ["--size", "64x32"],
        ];
        let all: Vec<&str> = all.concat().into_iter().chain(["--from-base"]).collect();
        let same = json!({
            "steps": 7, "batch_size": 3, "accumulate": 2, "learning_rate": 0.001, "decay": "cosine", "warm_up": 4,
            "weight_decay": 0.5, "max_gradient_norm": 2.0, "ema": 0.25, "save_every": 5, "drop": 0.2, "min_snr_gamma": 6.0,
            "trainable": "new_kv", "init": "ridge", "clip_tokens": 8, "size_px": [64, 32], "from_base": true
        });
        assert_eq!(plan(&told(&all)), stage(same).plan(9));
        for trainable in ["all", "attn2"] {
            assert_eq!(plan(&told(&["--trainable", trainable])), stage(json!({ "trainable": trainable })).plan(0));
        }
    }

    /// What one can be told and the other cannot is where the pairs are, and where all randomness comes from.
    #[test]
    fn the_stage_has_the_keys_of_the_command() {
        let command = command();
        let flags: BTreeSet<&str> = command.get_arguments().map(|flag| flag.get_id().as_str()).collect();
        let schema = schema_for!(TrainConfig);
        let keys = schema.get("properties").and_then(Value::as_object).unwrap();
        let keys: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
        assert_eq!(flags.difference(&keys).copied().collect::<Vec<_>>(), ["output", "pairs", "seed", "size"]);
        assert_eq!(keys.difference(&flags).copied().collect::<Vec<_>>(), ["size_px", "split"]);
    }
}
