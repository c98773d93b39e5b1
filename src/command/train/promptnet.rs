//! `train promptnet`: ProFusion's PromptNet, on pictures alone.

use cafe_engine::cafe::Role;
use cafe_engine::encoder::clip::ClipImage;
use cafe_engine::encoder::text::TextEncoder;
use cafe_engine::noise::Noise;
use cafe_engine::profusion::{
    ProFusionFolders, PromptNetConfig, PromptNetTrainer, SubjectEncoder, TextStates, from_unet,
};
use cafe_engine::train::EncodedRows;
use cafe_engine::unet::UNetConfig;
use cafe_engine::weights::Weights;
use cafe_engine::{Device, EngineError};
use cafe_pipeline::stage::Cancel;
use cafe_stages::train::{Encoding, Pictures, Watch, encode, train};
use cafe_stages::training_pairs::Wanted;
use image::RgbImage;
use serde_json::json;

use super::record::keep_settings;
use super::{INTERRUPTED, run_loop};
use crate::cli::TrainPromptNetArgs;
use crate::command::profusion::folders;
use crate::failure::Failure;
use crate::models::resolve;

pub(super) fn run(args: &TrainPromptNetArgs, cancel: &Cancel) -> Result<u8, Failure> {
    let common = &args.train;
    let pairs = run_loop::open(common, Wanted::References)?;
    let family = resolve::family(common.family.family.as_deref())?;
    let shown = run_loop::shown();
    let watch = Watch { cancel, told: &shown };
    let folders = folders(&family);
    let (config, weights) = start(args, &folders)?;
    let settings = run_loop::settings(common);
    let mut record = run_loop::record(&settings, &pairs, &weights)?;
    record.insert("promptnet".to_owned(), json!(config));
    record.insert("from_unet".to_owned(), json!(args.from_unet));
    keep_settings(&common.output, &record)?;

    let rows: Vec<usize> = (0..pairs.n_rows()).collect();
    let side_px = u32::try_from(config.latent_size()).unwrap_or(u32::MAX);
    let encoding = Encoding { pairs: &pairs, rows: &rows, size_px: Some((side_px, side_px)) };
    let models = [folders.base.join("vae"), folders.image_encoder.clone()];
    let load = || Ok(Encoder(SubjectEncoder::load(&folders, &config, &Device::Cpu)?));
    let Some(encoded) = encode(&encoding, &models, &common.output.join("encoded"), watch, load)? else {
        return Ok(INTERRUPTED);
    };
    let mut trainer = PromptNetTrainer::new(&folders, (config, &weights), &settings, &Device::Cpu)?;
    if !train(&mut trainer, &encoded, (&common.output, common.save_every), watch)? {
        return Ok(INTERRUPTED);
    }
    let made = common.output.join(Role::PromptNet.folder());
    trainer.export(&made, &run_loop::facts(common))?;
    run_loop::say(&made)?;
    Ok(0)
}

/// What sees the pictures.
struct Encoder(SubjectEncoder);

impl Pictures for Encoder {
    fn encode(&self, references: &[RgbImage], _: &[RgbImage]) -> Result<EncodedRows, EngineError> {
        self.0.encode(references)
    }
}

/// PromptNet at the beginning: the family's own, or one made of the base model's UNet.
fn start(args: &TrainPromptNetArgs, folders: &ProFusionFolders) -> Result<(PromptNetConfig, Weights), Failure> {
    let path = folders.promptnet.join("config.json");
    if !args.from_unet {
        let weights = Weights::open(&folders.promptnet).map_err(EngineError::from);
        return Ok((PromptNetConfig::read(&path)?, weights?));
    }
    let unet = folders.base.join("unet");
    let config = if path.is_file() {
        PromptNetConfig::read(&path)?
    } else {
        let unet = UNetConfig::read(&unet.join("config.json"))?;
        let text = TextEncoder::load(&folders.base.join("text_encoder"), &Device::Cpu)?.config().hidden_size;
        let vision = ClipImage::load(&folders.image_encoder, &Device::Cpu)?.config().hidden_size;
        // What the UNet was trained with: the base model's text encoder has no block too many.
        PromptNetConfig::for_unet(&unet, text, vision, TextStates::Last)?
    };
    let weights = Weights::open(&unet).map_err(EngineError::from)?;
    let noise = Noise::new(args.train.seed).of("initial weights");
    let tensors = from_unet(&config, &weights, &noise)?;
    Ok((config, Weights::from_tensors(tensors, &folders.promptnet.join("diffusion_pytorch_model.safetensors"))))
}
