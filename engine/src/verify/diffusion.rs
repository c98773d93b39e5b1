//! The base model, G, and PromptNet.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::encoders::{pixels, side};
use super::{Check, Relatives, check, conditions_of, noise, picture, sound};
use crate::Device;
use crate::cafe::Role;
use crate::encoder::clip::ClipImage;
use crate::encoder::text::TextEncoder;
use crate::encoder::tokenizer::TextTokenizer;
use crate::error::{EngineError, Result};
use crate::noise::SamplerConfig;
use crate::picture::{ImageProcessor, pixels as picture_pixels};
use crate::profusion::{ProFusionEngine, ProFusionFolders, PromptNet};
use crate::unet::{CafeConditioning, Conditioning, UNet, UNetConfig};
use crate::vae::AutoencoderKl;
use crate::weights::Weights;

/// Latents are this large where a model takes any size: enough to pass through all of it.
const SIDE: usize = 16;

/// Somewhere in the middle of T.
const TIMESTEP: f32 = 500.0;

pub(super) fn text_to_image(folder: &Path) -> Vec<Check> {
    // What the UNet is conditioned on; what it is without, where the text encoder cannot be used.
    let mut states: Result<Tensor> = Err(EngineError::argument("there are no states of the text encoder"));
    let text = check("text_encoder", || {
        let tokenizer = TextTokenizer::load(&folder.join("tokenizer"))?;
        let encoder = TextEncoder::load(&folder.join("text_encoder"), &Device::Cpu)?;
        let made = encoder.forward(&tokenizer.encode(&["a photo of a dog"], &Device::Cpu)?)?; // (1, T, D)
        let said = sound(&made)?;
        states = Ok(made);
        Ok(said)
    });
    let unet = check("unet", || {
        let unet = load_unet(&folder.join("unet"))?;
        let width = unet.config().cross_attention_dim;
        let states = match states {
            Ok(states) => states,
            Err(_) => noise("states").normal((1, 4, width), &Device::Cpu)?,
        };
        predict(&unet, Conditioning::Text(states))
    });
    let scheduler = check("scheduler", || {
        let config = SamplerConfig::read(&folder.join("scheduler").join("scheduler_config.json"))?;
        let n_steps = config.sampler(None, 4, 0.0)?.timesteps().len();
        Ok(format!("{n_steps} timesteps of {}", config.noise.num_train_timesteps))
    });
    let mut checks = vec![text, unet, scheduler];
    checks.extend(vae(&folder.join("vae")));
    checks
}

fn vae(folder: &Path) -> [Check; 2] {
    let mut latents: Result<Tensor> = Err(EngineError::argument("there are no latents"));
    let encode = check("vae encode", || {
        let vae = AutoencoderKl::load(folder, DType::F32, &Device::Cpu)?;
        let side_px = side(SIDE * vae.config().factor())?;
        let encoded = vae.encode(&picture_pixels::from_image(&picture(), (side_px, side_px), &Device::Cpu)?)?;
        let said = sound(encoded.mode())?;
        latents = Ok(encoded.mode().clone());
        Ok(said)
    });
    let decode = check("vae decode", || {
        let vae = AutoencoderKl::load(folder, DType::F32, &Device::Cpu)?;
        let latents = match latents {
            Ok(latents) => latents,
            Err(_) => noise("latents").normal((1, vae.config().latent_channels, SIDE, SIDE), &Device::Cpu)?,
        };
        sound(&vae.decode(&latents)?)
    });
    [encode, decode]
}

pub(super) fn cafe_unet(folder: &Path, relatives: &Relatives) -> Vec<Check> {
    vec![check("unet", || {
        let unet = load_unet(folder)?;
        let Some(cafe) = &unet.config().cafe else {
            let message = "has no `cafe`: it is conditioned on text, and cannot take E(x) and F(x)";
            return Err(EngineError::config(folder.join("config.json"), message));
        };
        let encoders = relatives.encoders()?;
        if let (Some(family), Some(encoders)) = (&relatives.family, &encoders) {
            family.check_conditions(unet.config(), encoders.widths())?;
        }
        let (clip, dino) = conditions_of(encoders.as_ref(), 5, (cafe.clip_dim, cafe.dino_dim))?;
        predict(&unet, Conditioning::Cafe(CafeConditioning { clip, dino }))
    })]
}

pub(super) fn promptnet(folder: &Path, relatives: &Relatives) -> Vec<Check> {
    let image_encoder = folder.join("image_encoder");
    let mut checks = vec![check("token", || {
        let encoder = ClipImage::load(&image_encoder, &Device::Cpu)?;
        let pixels = pixels(&image_encoder, ImageProcessor::clip(side(encoder.image_size())?))?;
        let vision = encoder.last_hidden_state(&pixels)?; // (1, 1 + N, C)
        let model = PromptNet::load(folder, &Device::Cpu)?;
        let (channels, side) = (model.config().unet.in_channels, model.config().latent_size());
        let latents = |purpose: &str| noise(purpose).normal((1, channels, side, side), &Device::Cpu);
        let timestep = Tensor::new(&[TIMESTEP], &Device::Cpu)?;
        sound(&model.forward(&latents("reference")?, &latents("noisy")?, &timestep, &vision)?)
    })];
    if let Some(base) = relatives.folder(Role::TextToImage) {
        checks.push(check("fits text_to_image", || {
            let folders = ProFusionFolders { base, promptnet: folder.into(), image_encoder };
            ProFusionEngine::load(&folders, &Device::Cpu)?;
            Ok("widths and channels are the same".to_owned())
        }));
    }
    checks
}

/// A UNet all of whose tensors the config has a use for.
fn load_unet(folder: &Path) -> Result<UNet> {
    let path = folder.join("config.json");
    let weights = Weights::open(folder)?;
    let unet = UNet::from_weights(UNetConfig::read(&path)?, &weights, &Device::Cpu)?;
    match weights.unused().first() {
        Some(name) => {
            let message =
                format!("has no use for `{name}` in {}: it belongs to other weights", weights.file().display());
            Err(EngineError::config(path, message))
        }
        None => Ok(unet),
    }
}

fn predict(unet: &UNet, conditioning: Conditioning) -> Result<String> {
    let side = SIDE.next_multiple_of(unet.config().latent_multiple());
    let latents = noise("latents").normal((1, unet.config().in_channels, side, side), &Device::Cpu)?;
    sound(&unet.forward(&latents, &Tensor::new(&[TIMESTEP], &Device::Cpu)?, &conditioning)?)
}
