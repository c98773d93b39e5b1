//! `train mllm`: V, H and the learnable token of the assistant by Eq. 2.

use std::path::Path;

use cafe_engine::assistant::{
    Adapter, AdapterConfig, Assistant, AssistantSettings, AssistantTrainer, Base, Dialogue, DialogueBatch, Distance,
    TokenAfter,
};
use cafe_engine::cafe::{ImageEncoders, Role};
use cafe_engine::language::Message;
use cafe_engine::noise::Noise;
use cafe_engine::train::{EncodedRows, EncodedTable};
use cafe_engine::weights::Weights;
use cafe_engine::{Device, EngineError, Tensor};
use cafe_pipeline::stage::Cancel;
use cafe_stages::train::{Encoding, Pictures, Watch, encode, train};
use cafe_stages::training_pairs::{TrainingPairs, Wanted};
use image::RgbImage;
use serde_json::json;

use super::record::keep_settings;
use super::{INTERRUPTED, run_loop};
use crate::cli::{DistanceForm, TokenPlace, TrainMllmArgs};
use crate::failure::Failure;
use crate::models::resolve;

pub(super) fn run(args: &TrainMllmArgs, cancel: &Cancel) -> Result<u8, Failure> {
    let common = &args.train;
    let pairs = run_loop::open(common, Wanted::Pairs)?;
    let family = resolve::family(common.family.family.as_deref())?;
    let shown = run_loop::shown();
    let watch = Watch { cancel, told: &shown };
    let said = Said::read(&pairs, &common.pairs)?;
    let folders = [family.folder(Role::ClipCondition), family.folder(Role::DinoCondition)];
    let encoding = Encoding { pairs: &pairs, rows: &said.rows, size_px: None };
    let encoders = || Ok(Encoders(ImageEncoders::load(&family, &Device::Cpu)?));
    let made = encode(&encoding, &folders, &common.output.join("encoded"), watch, encoders)?;
    let Some(encoded) = made else { return Ok(INTERRUPTED) };

    let folder = family.folder(Role::Mllm);
    let base = Base::load(&resolve::llm(args.llm.as_deref(), &folder)?, &Device::Cpu)?;
    let (config, weights) = start(args, &folder, &base, &encoded)?;
    let settings = AssistantSettings { train: run_loop::settings(common), condition_weight: args.condition_weight };
    let mut record = run_loop::record(&settings, &pairs, &weights)?;
    record.insert("n_replies".to_owned(), json!(said.rows.len()));
    record.insert("mllm".to_owned(), json!(config));
    keep_settings(&common.output, &record)?;

    let n_image_tokens = n_image_tokens(&encoded, config.image_pool)?;
    let conversations = |assistant: &Assistant| said.dialogues(assistant, n_image_tokens);
    let mut trainer = AssistantTrainer::new(base, (config, &weights), conversations, settings)?;
    if !train(&mut trainer, &encoded, (&common.output, common.save_every), watch)? {
        return Ok(INTERRUPTED);
    }
    let made = common.output.join(Role::Mllm.folder());
    trainer.export(&made, &run_loop::facts(common))?;
    run_loop::say(&made)?;
    Ok(0)
}

/// What was said of the pairs that have a reply.
struct Said {
    /// Which pairs.
    rows: Vec<usize>,
    /// y and y~ of each.
    texts: Vec<(String, String)>,
}

impl Said {
    fn read(pairs: &TrainingPairs, path: &Path) -> Result<Self, Failure> {
        let all = pairs.dialogues().map_err(|error| {
            Failure::usage(error.to_string(), "name a release whose pairs have dialogues: columns `y` and `y_tilde`")
        })?;
        let n_pairs = all.len();
        let (rows, texts): (Vec<usize>, Vec<(String, String)>) = all
            .into_iter()
            .enumerate()
            .filter_map(|(row, dialogue)| Some((row, (dialogue.said?, dialogue.reply?))))
            .unzip();
        if rows.is_empty() {
            let message = format!("{}: none of {n_pairs} pairs has a reply (`y_tilde`)", path.display());
            return Err(Failure::usage(message, "have dialogues written first"));
        }
        if rows.len() < n_pairs {
            tracing::warn!("{} of {n_pairs} pairs have no reply, and are left out", n_pairs - rows.len());
        }
        Ok(Self { rows, texts })
    }

    /// All that cannot be read is told at once.
    fn dialogues(&self, assistant: &Assistant, n_image_tokens: usize) -> Result<Vec<Dialogue>, EngineError> {
        let (mut dialogues, mut faults) = (Vec::with_capacity(self.rows.len()), Vec::new());
        for (row, (said, reply)) in self.rows.iter().zip(&self.texts) {
            let dialogue = assistant.dialogue(&[Message::new("user", said)], reply);
            match dialogue.and_then(|dialogue| assistant.check_length(&dialogue, n_image_tokens).map(|()| dialogue)) {
                Ok(dialogue) => dialogues.push(dialogue),
                Err(error) => faults.push(format!("row {row}: {error}")),
            }
        }
        if faults.is_empty() {
            return Ok(dialogues);
        }
        let n_more = faults.len().saturating_sub(5);
        faults.truncate(5);
        if n_more > 0 {
            faults.push(format!("and {n_more} more"));
        }
        Err(EngineError::Argument(faults.join("; ")))
    }
}

/// What sees the pictures.
struct Encoders(ImageEncoders);

impl Pictures for Encoders {
    fn encode(&self, references: &[RgbImage], targets: &[RgbImage]) -> Result<EncodedRows, EngineError> {
        DialogueBatch::encode(&self.0, (references, targets))
    }
}

/// The adapter at the beginning: the family's own, or a new one.
fn start(
    args: &TrainMllmArgs,
    folder: &Path,
    base: &Base,
    encoded: &EncodedTable,
) -> Result<(AdapterConfig, Weights), Failure> {
    let path = folder.join("config.json");
    if !args.from_scratch && path.is_file() {
        return Ok((AdapterConfig::read(&path)?, Weights::open(folder).map_err(EngineError::from)?));
    }
    let clip = column(encoded, "clip", encoded.n_rows())?; // (rows, D_clip)
    let dino = column(encoded, "dino", 1)?; // (1, 1 + N, D_dino)
    let widths = (tensor(clip.dim(1))?, tensor(dino.dim(2))?);
    let mut config = AdapterConfig::new(base.digest.clone(), base.llama.config().hidden_size, widths);
    config.image_pool = args.image_pool as usize;
    config.system.clone_from(&args.system);
    config.token_after = match args.token_after {
        TokenPlace::Prompt => TokenAfter::Prompt,
        TokenPlace::Response => TokenAfter::Response,
    };
    config.distance = match args.distance {
        DistanceForm::Mse => Distance::Mse,
        DistanceForm::Cosine => Distance::Cosine,
    };
    if config.distance == Distance::Cosine {
        let lengths = tensor(clip.sqr().and_then(|clip| clip.sum(1)?.sqrt()?.mean_all()?.to_scalar::<f32>()))?;
        config.condition_norm = Some(f64::from(lengths));
    }
    let noise = Noise::new(args.train.seed).of("initial weights");
    let tensors = Adapter::initial(&config, base.embedding_std()?, &noise)?;
    Ok((config, Weights::from_tensors(tensors, &folder.join("model.safetensors"))))
}

/// How many tokens a picture becomes.
fn n_image_tokens(encoded: &EncodedTable, pool: usize) -> Result<usize, Failure> {
    let n_patches = tensor(column(encoded, "dino", 1)?.dim(1))?.saturating_sub(1);
    Ok(1 + n_patches / (pool * pool))
}

fn column(encoded: &EncodedTable, name: &str, n_rows: usize) -> Result<Tensor, Failure> {
    Ok(encoded.stack(&(0..n_rows).collect::<Vec<_>>(), name, &Device::Cpu)?)
}

fn tensor<T, E: Into<EngineError>>(made: Result<T, E>) -> Result<T, Failure> {
    Ok(made.map_err(Into::into)?)
}
