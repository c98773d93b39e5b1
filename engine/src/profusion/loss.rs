//! What PromptNet is trained by: the noise in a picture is to be predicted with S* of a picture of the same subject.

use candle_core::{DType, Device, Tensor};

use super::promptnet::PromptNet;
use super::text::{SubjectPrompt, SubjectText};
use crate::error::Result;
use crate::noise::{DdpmScheduler, Noise};
use crate::unet::{Conditioning, UNet};

/// The prompt of training.
pub const TRAINING_PROMPT: &str = "a photo of holder";

/// What a step trains on. In pre-training target and reference are one picture, in tuning two of a mini-set.
#[derive(Clone, Debug)]
pub struct SubjectBatch {
    /// Latents of the picture that S* is made of, scaled: (B, C, s, s).
    pub reference: Tensor,
    /// Its vision tokens, (B, N, D_vision).
    pub vision: Tensor,
    /// Latents of the picture whose noise is predicted, scaled: (B, C, s, s).
    pub target: Tensor,
}

/// What is drawn for a batch: all of the step's randomness.
#[derive(Clone, Debug)]
pub struct SubjectDraw {
    /// Gaussian, (B, C, s, s).
    pub noise: Tensor,
    /// One for each of the B rows.
    pub timesteps: Vec<u32>,
}

impl SubjectDraw {
    /// Draws for a batch whose latents have `shape` (B, C, s, s): timesteps below `n_timesteps`.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn new(shape: &[usize], n_timesteps: u32, noise: &Noise, device: &Device) -> Result<Self> {
        let batch = shape.first().copied().unwrap_or_default();
        Ok(Self {
            noise: noise.of("noise").normal(shape, device)?,
            timesteps: noise.of("timesteps").integers(batch, n_timesteps),
        })
    }
}

/// The models of a step.
#[derive(Clone, Copy)]
pub struct SubjectModels<'a> {
    /// Makes S*.
    pub promptnet: &'a PromptNet,
    /// The base model's.
    pub unet: &'a UNet,
    /// The base model's, frozen.
    pub text: &'a SubjectText,
    /// The forward process.
    pub scheduler: &'a DdpmScheduler,
}

/// ‖ε − ε_θ(x_t, t, `prompt` with S*)‖², the mean over all numbers: a scalar. Where the noise scheduler says so, the
/// velocity is predicted in place of ε. `prompt` is [`TRAINING_PROMPT`], without padding.
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn subject_loss(
    models: SubjectModels<'_>,
    prompt: &SubjectPrompt,
    batch: &SubjectBatch,
    draw: &SubjectDraw,
) -> Result<Tensor> {
    let SubjectModels { promptnet, unet, text, scheduler } = models;
    let noisy = scheduler.add_noise(&batch.target, &draw.noise, &draw.timesteps)?;
    let wanted = scheduler.target(&batch.target, &draw.noise, &draw.timesteps)?;
    let timesteps = Tensor::new(draw.timesteps.as_slice(), noisy.device())?;
    let subject = promptnet.forward(&batch.reference, &noisy, &timesteps, &batch.vision)?; // (B, 1, D)
    let states = text.inject(prompt, &subject, 1.0)?;
    let predicted = unet.forward(&noisy, &timesteps, &Conditioning::Text(states))?;
    Ok((predicted - wanted)?.sqr()?.to_dtype(DType::F32)?.mean_all()?)
}
