//! ProFusion as a whole: a picture and a prompt in, pictures out.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::{Device, Tensor};
use image::{DynamicImage, GrayImage, RgbImage};

use super::base::{ProFusionFolders, load_text};
use super::cache::{TuneCache, fingerprint};
use super::config::PromptNetConfig;
use super::encoder::SubjectEncoder;
use super::fusion::{Drawn, Fusion, FusionTexts, Reference};
use super::promptnet::PromptNet;
use super::settings::FusionSettings;
use super::text::{HOLDER, SubjectText};
use super::tune::{MiniSet, OnTuneStep, TuneBase, TuneSettings, overlaid, tune};
use crate::cafe::OnStep;
use crate::error::{EngineError, Result};
use crate::noise::{Noise, NoiseConfig, SamplerConfig};
use crate::unet::{UNet, UNetConfig};
use crate::weights::Weights;

/// A subject that can be painted: its picture, and the models that were tuned to it.
pub struct Subject {
    promptnet: PromptNet,
    unet: UNet,
    reference: Reference,
    noun: String,
    /// What tells its weights from others; none where nothing was tuned.
    pub fingerprint: Option<String>,
    /// Whether the weights were found, and not tuned now.
    pub was_found: bool,
}

/// How pictures of a subject are made.
#[derive(Clone, Debug, Default)]
pub struct ProFusionSettings {
    /// Guidance and steps.
    pub fusion: FusionSettings,
    /// What is guided away from: empty in ProFusion.
    pub negative_prompt: String,
    /// A picture to start from in place of noise, and the timestep t0 that it is noised to: the first step is the one at t0
    /// or below (750 in ProFusion's example). What is made keeps its outline.
    pub start: Option<(RgbImage, u32)>,
}

/// ProFusion: PromptNet on a base model.
pub struct ProFusionEngine {
    pub(super) folders: ProFusionFolders,
    pub(super) promptnet: (PromptNetConfig, Weights),
    pub(super) unet: (UNetConfig, Weights),
    pub(super) text: SubjectText,
    pub(super) encoder: SubjectEncoder,
    pub(super) noise: NoiseConfig,
    /// Digests of all that a tuning depends on; made when first asked for.
    pub(super) digests: Mutex<Option<BTreeMap<String, String>>>,
    device: Device,
}

impl ProFusionEngine {
    /// Loads all models.
    ///
    /// # Errors
    /// When one is missing, does not fit its config, or they do not fit each other.
    pub fn load(folders: &ProFusionFolders, device: &Device) -> Result<Self> {
        let base = &folders.base;
        let config = PromptNetConfig::read(&folders.promptnet.join("config.json"))?;
        let unet = UNetConfig::read(&base.join("unet").join("config.json"))?;
        folders.must_be(&config.fits(&unet))?;
        let engine = Self {
            text: load_text(folders, &config, device)?,
            encoder: SubjectEncoder::load(folders, &config, device)?,
            promptnet: (config, Weights::open(&folders.promptnet)?),
            unet: (unet, Weights::open(&base.join("unet"))?),
            noise: SamplerConfig::read(&base.join("scheduler").join("scheduler_config.json"))?.noise,
            digests: Mutex::default(),
            folders: folders.clone(),
            device: device.clone(),
        };
        // What does not fit is told now, and not after a tuning.
        engine.models(&BTreeMap::new())?;
        Ok(engine)
    }

    /// The text encoder with its slot, for training.
    #[must_use]
    pub fn text(&self) -> &SubjectText {
        &self.text
    }

    /// The noise schedule of the base model.
    #[must_use]
    pub fn noise(&self) -> &NoiseConfig {
        &self.noise
    }

    /// What its models see of pictures.
    #[must_use]
    pub fn encoder(&self) -> &SubjectEncoder {
        &self.encoder
    }

    /// The subject of `image` without tuning; `noun` is what stands for it in the reference prompt: "person", "dog".
    ///
    /// # Errors
    /// As of [`SubjectEncoder::reference`].
    pub fn untuned(&self, image: &RgbImage, noun: &str) -> Result<Subject> {
        let (promptnet, unet) = self.models(&BTreeMap::new())?;
        let (reference, noun) = (self.encoder.reference(image, 1.0)?, noun.to_owned());
        Ok(Subject { promptnet, unet, reference, noun, fingerprint: None, was_found: false })
    }

    /// Tunes to `image`, or finds in `cache` what was tuned to it, and keeps there what was tuned now. `mask` is white where
    /// the subject is, of the picture's size; without, it is all of the picture. Picture and mask are first brought to the
    /// size that PromptNet takes.
    ///
    /// # Errors
    /// When sizes differ, settings are out of range, the cache is damaged, or of the tensors.
    pub fn tune(
        &self,
        image: &RgbImage,
        mask: Option<&GrayImage>,
        noun: &str,
        settings: &TuneSettings,
        cache: Option<&TuneCache>,
        on_step: OnTuneStep<'_>,
    ) -> Result<Subject> {
        settings.check()?;
        if let Some(mask) = mask.filter(|mask| mask.dimensions() != image.dimensions()) {
            let ((width, height), (w, h)) = (mask.dimensions(), image.dimensions());
            return Err(EngineError::argument(format!("a mask of {width}×{height} px for a picture of {w}×{h} px")));
        }
        let name = fingerprint(&self.digests()?, image, mask, settings);
        let found = cache.map(|cache| cache.find(&name)).transpose()?.flatten();
        let was_found = found.is_some();
        let tensors = match found {
            Some(tensors) => tensors,
            None => {
                let base = TuneBase {
                    promptnet: (&self.promptnet.0, &self.promptnet.1),
                    unet: (&self.unet.0, &self.unet.1),
                    text: &self.text,
                    noise: &self.noise,
                };
                let tensors = tune(base, &self.mini_set(image, mask, settings)?, settings, on_step)?;
                if let Some(cache) = cache {
                    cache.keep(&name, &tensors)?;
                }
                tensors
            }
        };
        let (promptnet, unet) = self.models(&tensors)?;
        let (reference, noun) = (self.encoder.reference(image, 1.0)?, noun.to_owned());
        Ok(Subject { promptnet, unet, reference, noun, fingerprint: Some(name), was_found })
    }

    /// A picture for each seed, of `prompt` with [`HOLDER`] in the place of the subject: the same whatever the other seeds.
    /// `further` are more pictures of it, each with its own weight.
    ///
    /// # Errors
    /// When the prompt has no slot, settings are out of range, or of the tensors.
    pub fn generate(
        &self,
        subject: &Subject,
        further: &[Reference],
        prompt: &str,
        seeds: &[u64],
        settings: &ProFusionSettings,
        on_step: OnStep<'_>,
    ) -> Result<Vec<RgbImage>> {
        if seeds.is_empty() {
            return Err(EngineError::argument("no seed: one is wanted for each picture"));
        }
        let references: Vec<Reference> = std::iter::once(&subject.reference).chain(further).cloned().collect();
        let noun_prompt = with_noun(prompt, &subject.noun);
        let texts = FusionTexts { prompt, noun_prompt: &noun_prompt, negative: &settings.negative_prompt };
        let models = (&subject.promptnet, &subject.unet, &self.text);
        let fusion = Fusion::new(models, &references, texts, &self.noise, settings.fusion)?;
        let seeds: Vec<Noise> = seeds.iter().map(|seed| Noise::new(*seed)).collect();
        let draw = |place: &dyn Fn(&Noise) -> Noise, row: &[usize]| -> Result<Tensor> {
            let rows: Vec<Noise> = seeds.iter().map(place).collect();
            Ok(Noise::normal_rows(&rows, row, &self.device)?)
        };
        let side = self.promptnet.0.latent_size();
        let shape = [self.promptnet.0.unet.in_channels, side, side];
        let noise = draw(&|noise| noise.of("latents"), &shape)?; // (B, C, s, s)
        let (latents, first) = match &settings.start {
            None => (noise, 0),
            Some((image, t0)) => {
                let first = fusion.first_step(*t0)?;
                let source = self.encoder.reference(image, 1.0)?.latents;
                (fusion.noised(&Tensor::cat(&vec![&source; seeds.len()], 0)?, &noise, first)?, first)
            }
        };
        let draw_at = |drawn: Drawn, _: &[usize]| match drawn {
            Drawn::Refine { step, repetition } => {
                draw(&|noise| noise.of("refine").at(step as u64).at(u64::from(repetition)), &shape)
            }
            Drawn::Step { step } => draw(&|noise| noise.of("step").at(step as u64), &shape),
        };
        self.encoder.decode(&fusion.sample(&latents, first, &draw_at, on_step)?)
    }

    /// PromptNet and UNet with `tuned` tensors in place of theirs.
    fn models(&self, tuned: &BTreeMap<String, Tensor>) -> Result<(PromptNet, UNet)> {
        let (config, weights) = &self.promptnet;
        let (unet_config, unet_weights) = &self.unet;
        if tuned.is_empty() {
            let promptnet = PromptNet::from_weights(config.clone(), weights, &self.device)?;
            return Ok((promptnet, UNet::from_weights(unet_config.clone(), unet_weights, &self.device)?));
        }
        let promptnet = PromptNet::from_weights(config.clone(), &overlaid(weights, tuned, "promptnet")?, &self.device)?;
        let unet = overlaid(unet_weights, tuned, "unet")?;
        Ok((promptnet, UNet::from_weights(unet_config.clone(), &unet, &self.device)?))
    }

    fn mini_set(&self, image: &RgbImage, mask: Option<&GrayImage>, settings: &TuneSettings) -> Result<MiniSet> {
        let mask = mask
            .map(|mask| {
                Ok::<_, EngineError>(DynamicImage::from(
                    self.encoder.sized(&DynamicImage::from(mask.clone()).into_rgb8())?,
                ))
            })
            .transpose()?
            .map(DynamicImage::into_luma8);
        let noise = Noise::new(settings.seed).of("augment");
        let n = settings.n_augmentations;
        let images =
            super::augment::mini_set(&self.encoder.sized(image)?, mask.as_ref(), n, &settings.augment, &noise)?;
        let encoded = images.iter().map(|image| self.encoder.reference(image, 1.0)).collect::<Result<Vec<_>>>()?;
        let latents: Vec<&Tensor> = encoded.iter().map(|one| &one.latents).collect();
        let vision: Vec<&Tensor> = encoded.iter().map(|one| &one.vision).collect();
        Ok(MiniSet { latents: Tensor::cat(&latents, 0)?, vision: Tensor::cat(&vision, 0)? })
    }
}

/// `prompt` with `noun` in the place of the slot.
fn with_noun(prompt: &str, noun: &str) -> String {
    // Lower case of ASCII leaves every byte in its place; the tokenizer reads both the same.
    match prompt.to_ascii_lowercase().find(HOLDER) {
        Some(place) => {
            let (before, after) = (prompt.get(..place), prompt.get(place + HOLDER.len()..));
            format!("{}{noun}{}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        None => prompt.to_owned(),
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
