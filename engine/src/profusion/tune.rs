//! Tuning to one picture: PromptNet and the queries, keys and values of the UNet learn to show its subject in many places.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::augment::AugmentSettings;
use super::config::PromptNetConfig;
use super::loss::{SubjectBatch, SubjectDraw, SubjectModels, TRAINING_PROMPT, subject_loss};
use super::promptnet::PromptNet;
use super::text::SubjectText;
use crate::error::{EngineError, Result};
use crate::noise::{DdpmScheduler, Noise, NoiseConfig};
use crate::train::order::batch_rows;
use crate::train::{AdamW, AdamWConfig, Gradients};
use crate::unet::{UNet, UNetConfig};
use crate::weights::{Variables, Weights};

/// How a picture is tuned to. The defaults are ProFusion's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneSettings {
    /// Altered pictures beside the original.
    pub n_augmentations: u32,
    /// How they are altered.
    pub augment: AugmentSettings,
    /// Steps.
    pub n_iterations: u64,
    /// Pairs of reference and target in a step.
    pub batch_size: usize,
    /// Of AdamW, constant.
    pub learning_rate: f64,
    /// Of AdamW.
    pub weight_decay: f64,
    /// Of all that is drawn.
    pub seed: u64,
}

impl Default for TuneSettings {
    fn default() -> Self {
        Self {
            n_augmentations: 31,
            augment: AugmentSettings::default(),
            n_iterations: 100,
            batch_size: 4,
            learning_rate: 2e-5,
            weight_decay: 1e-2,
            seed: 0,
        }
    }
}

impl TuneSettings {
    pub(super) fn check(&self) -> Result<()> {
        if self.batch_size == 0 || self.batch_size > 4096 || self.n_augmentations > 4096 {
            return Err(EngineError::argument("batch_size must be 1 to 4096, and n_augmentations at most 4096"));
        }
        if !(self.learning_rate >= 0.0 && self.learning_rate.is_finite()) {
            return Err(EngineError::argument(format!(
                "learning_rate is {}: it must be 0 or more",
                self.learning_rate
            )));
        }
        self.augment.check()
    }
}

/// The pictures that are trained on, encoded.
#[derive(Clone, Debug)]
pub struct MiniSet {
    /// Latents, scaled: (n, C, s, s).
    pub latents: Tensor,
    /// Vision tokens, (n, N, D_vision).
    pub vision: Tensor,
}

/// The models that tuning begins with.
#[derive(Clone, Copy)]
pub struct TuneBase<'a> {
    /// Makes S*.
    pub promptnet: (&'a PromptNetConfig, &'a Weights),
    /// The base model's.
    pub unet: (&'a UNetConfig, &'a Weights),
    /// The base model's, frozen.
    pub text: &'a SubjectText,
    /// Its noise.
    pub noise: &'a NoiseConfig,
}

/// Told after each step: how many are done, and the loss.
pub type OnTuneStep<'a> = &'a dyn Fn(u64, f64);

/// Whether tuning changes the UNet's tensor `name`: queries, keys and values of both attentions.
#[must_use]
pub fn is_tuned(name: &str) -> bool {
    ["to_q", "to_k", "to_v"].iter().any(|key| name.ends_with(&format!(".{key}.weight")))
}

/// PromptNet, all of it variables, and the UNet, with those of [`is_tuned`]. Their names begin with `promptnet.` and
/// `unet.`.
pub(super) fn trainable(
    promptnet: (PromptNetConfig, &Weights),
    unet: (UNetConfig, &Weights),
    device: &Device,
) -> Result<((PromptNet, UNet), BTreeMap<String, Var>)> {
    let (net, of_net) = PromptNet::for_training(promptnet.0, promptnet.1, device)?;
    let of_unet = Variables::selected_by(is_tuned);
    let unet = UNet::new(unet.0, &unet.1.trainable(&of_unet, DType::F32, device))?;
    let named = |prefix: &'static str, variables: BTreeMap<String, Var>| {
        variables.into_iter().map(move |(name, variable)| (format!("{prefix}.{name}"), variable))
    };
    Ok(((net, unet), named("promptnet", of_net.all()).chain(named("unet", of_unet.all())).collect()))
}

/// Tunes, and returns the tensors that were trained, as they are then, under `promptnet.` and `unet.`. Reference and target
/// of each row are drawn by permutations of their own. The same arguments give the same numbers.
///
/// # Errors
/// When shapes do not fit, a loss is not a number, or of the tensors.
pub fn tune(
    base: TuneBase<'_>,
    set: &MiniSet,
    settings: &TuneSettings,
    on_step: OnTuneStep<'_>,
) -> Result<BTreeMap<String, Tensor>> {
    settings.check()?;
    let device = set.latents.device();
    let ((promptnet, unet), variables) =
        trainable((base.promptnet.0.clone(), base.promptnet.1), (base.unet.0.clone(), base.unet.1), device)?;
    let scheduler = DdpmScheduler::new(base.noise)?;
    let models = SubjectModels { promptnet: &promptnet, unet: &unet, text: base.text, scheduler: &scheduler };
    let prompt = base.text.prompt(TRAINING_PROMPT, false)?;
    let config = AdamWConfig { weight_decay: settings.weight_decay, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(variables.clone(), config)?;
    let noise = Noise::new(settings.seed).of("tune");
    for iteration in 0..settings.n_iterations {
        let batch = drawn_pairs(set, iteration, settings.batch_size, &noise)?;
        let n_timesteps = base.noise.num_train_timesteps;
        let draw = SubjectDraw::new(batch.target.dims(), n_timesteps, &noise.of("batch").at(iteration), device)?;
        let loss = subject_loss(models, &prompt, &batch, &draw)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            let step = iteration + 1;
            return Err(EngineError::argument(format!(
                "the loss of step {step} is {value}: lower the learning rate, or look for damage in the weights"
            )));
        }
        optimizer.step(&Gradients::of(&variables, &loss.backward()?), settings.learning_rate)?;
        on_step(iteration + 1, value);
    }
    let tensor = |(name, variable): (String, Var)| Ok((name, variable.as_detached_tensor().copy()?));
    variables.into_iter().map(tensor).collect()
}

/// Rows for references and for targets, in orders that have nothing to do with each other.
fn drawn_pairs(set: &MiniSet, iteration: u64, batch_size: usize, noise: &Noise) -> Result<SubjectBatch> {
    let n_rows = set.latents.dim(0)?;
    if n_rows == 0 || set.vision.dim(0)? != n_rows {
        return Err(EngineError::argument(format!(
            "a mini-set of {n_rows} latents and {} vision tokens: as many of each are wanted",
            set.vision.dim(0)?
        )));
    }
    let rows = |purpose: &str| {
        let rows = batch_rows(iteration, batch_size, n_rows, &noise.of(purpose));
        let rows: Vec<u32> = rows.into_iter().map(|row| row as u32).collect();
        Tensor::new(rows, set.latents.device())
    };
    let (references, targets) = (rows("references")?, rows("targets")?);
    Ok(SubjectBatch {
        reference: set.latents.index_select(&references, 0)?,
        vision: set.vision.index_select(&references, 0)?,
        target: set.latents.index_select(&targets, 0)?,
    })
}

/// The weights `base` with the tensors of `tuned` under `prefix` in place of theirs: exactly the tuned weights.
///
/// # Errors
/// When a tuned tensor has no place, or weights cannot be read.
pub(super) fn overlaid(base: &Weights, tuned: &BTreeMap<String, Tensor>, prefix: &str) -> Result<Weights> {
    let of_prefix =
        |name: &String| name.strip_prefix(prefix).and_then(|name| name.strip_prefix('.')).map(str::to_owned);
    if let Some(name) = tuned.keys().filter_map(of_prefix).find(|name| !base.contains(name)) {
        return Err(EngineError::argument(format!(
            "the tuned tensor `{prefix}.{name}` has no place in {}: it was tuned on another model",
            base.file().display()
        )));
    }
    let mut tensors = BTreeMap::new();
    for name in base.names() {
        let tensor = match tuned.get(&format!("{prefix}.{name}")) {
            Some(tensor) => tensor.clone(),
            None => base.tensor(&name)?,
        };
        tensors.insert(name, tensor);
    }
    Ok(Weights::from_tensors(tensors, base.file()))
}
