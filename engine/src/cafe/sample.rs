//! Sampling: from noise, or from a noised picture, to latents, under guidance.

use candle_core::{Device, Tensor};

use crate::error::{EngineError, Result};
use crate::noise::{Branch, Guidance, Memory, Noise, Sampler, SamplerKind, guide_text, rescale_guidance};
use crate::unet::{CafeConditioning, Conditioning, Prepared, UNet};

/// How latents are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerSettings {
    /// Which way; where not given, the one that the model's `scheduler_config.json` asks for.
    pub sampler: Option<SamplerKind>,
    /// Steps: 50 of DDIM, 20 of DPM-Solver++ are usual.
    pub n_steps: u32,
    /// 0 for deterministic DDIM, 1 for as much noise as DDPM adds; 0 for DPM-Solver++.
    pub eta: f64,
    /// How far guidance is brought back to the contrast of what is predicted without, 0 to 1 (`guidance_rescale` of
    /// diffusers): 0 is not at all.
    pub guidance_rescale: f64,
    /// Height and width of the image, in pixels; where not given, what the UNet was trained for.
    pub size_px: Option<(usize, usize)>,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self { sampler: None, n_steps: 50, eta: 0.0, guidance_rescale: 0.0, size_px: None }
    }
}

/// Told after each step: how many are done, of how many.
pub type OnStep<'a> = &'a dyn Fn(usize, usize);

/// Makes one prediction of those of all branches, (branches·B, C, H, W).
type Combine<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

/// A UNet with the conditions of all branches of guidance, one batch after the other.
pub(super) struct Guided<'a> {
    prepared: Prepared<'a>,
    n_branches: usize,
    combine: Combine<'a>,
}

impl<'a> Guided<'a> {
    /// CAFE's two conditions, each dropped or not as `guidance` asks.
    pub(super) fn cafe(
        unet: &'a UNet,
        conditions: &CafeConditioning,
        guidance: &'a Guidance,
        rescale: f64,
    ) -> Result<Self> {
        let branches = guidance.branches();
        let both = branches.iter().position(|branch| *branch == Branch::BOTH);
        if rescale != 0.0 && both.is_none() {
            return Err(EngineError::argument(format!(
                "guidance_rescale is {rescale}: this guidance never evaluates both conditions together; it must be 0"
            )));
        }
        let (n_branches, n_rows) = (branches.len(), conditions.clip.dim(0)?);
        let kept: Vec<(bool, bool)> = branches.iter().map(|branch| (branch.clip, branch.dino)).collect();
        let combine = move |predicted: &Tensor| {
            let guided = guidance.combine_stacked(predicted)?;
            match both {
                Some(both) if rescale != 0.0 => {
                    rescale_guidance(&guided, &predicted.narrow(0, both * n_rows, n_rows)?, rescale)
                }
                _ => Ok(guided),
            }
        };
        Ok(Self { prepared: unet.prepare_branches(conditions, &kept)?, n_branches, combine: Box::new(combine) })
    }

    /// Text against the empty text; both are (B, T, D).
    pub(super) fn text(unet: &'a UNet, states: &Tensor, empty: &Tensor, scale: f64, rescale: f64) -> Result<Self> {
        let n_rows = states.dim(0)?;
        Ok(Self {
            prepared: unet.prepare(&Conditioning::Text(Tensor::cat(&[empty, states], 0)?))?,
            n_branches: 2,
            combine: Box::new(move |predicted| {
                let (without, with) = (predicted.narrow(0, 0, n_rows)?, predicted.narrow(0, n_rows, n_rows)?);
                let guided = guide_text(&without, &with, scale)?;
                if rescale == 0.0 { Ok(guided) } else { rescale_guidance(&guided, &with, rescale) }
            }),
        })
    }

    pub(super) fn unet(&self) -> &UNet {
        self.prepared.unet()
    }

    /// What the model predicts in `latents` (B, C, H, W), under guidance; of the same shape.
    pub(super) fn predict(&self, latents: &Tensor, timestep: u32) -> Result<Tensor> {
        let repeated = Tensor::cat(&vec![latents; self.n_branches], 0)?; // (branches·B, C, H, W)
        let timesteps = Tensor::full(timestep, repeated.dim(0)?, latents.device())?;
        (self.combine)(&self.prepared.forward(&repeated, &timesteps)?)
    }
}

/// Where sampling starts.
pub(super) struct Start {
    /// (B, C, H, W), as noisy as they are before step number `first`.
    latents: Tensor,
    first: usize,
    kept: Option<Kept>,
}

/// A part of a picture that stays as it is.
struct Kept {
    /// Latents of the picture (B, C, H, W).
    source: Tensor,
    /// What it is noised with, of the same shape.
    noise: Tensor,
    /// 1 where the picture is made anew, 0 where it stays: (B or 1, 1, H, W).
    mask: Tensor,
}

impl Start {
    /// Noise alone, (B, C, H, W).
    pub(super) fn noise(noise: Tensor) -> Self {
        Self { latents: noise, first: 0, kept: None }
    }

    /// A picture's latents `source` (B, C, H, W), noised with `noise` as `strength` says: 0 leaves the picture, and 1 the
    /// noise alone. `mask` is (B or 1, 1, H, W), 1 where the picture is made anew, and 0 where it stays.
    ///
    /// # Errors
    /// When `strength` is not 0 to 1, shapes do not fit, or of the tensors.
    pub(super) fn source(
        sampler: &Sampler,
        source: &Tensor,
        noise: Tensor,
        strength: f64,
        mask: Option<Tensor>,
    ) -> Result<Self> {
        let first = sampler.first_step(strength)?;
        // Where all steps are taken, what the first timestep has left of the signal is not asked for.
        let latents = if first == 0 { noise.clone() } else { sampler.add_noise(source, &noise, first)? };
        let kept = mask.map(|mask| Kept { source: source.clone(), noise, mask });
        Ok(Self { latents, first, kept })
    }
}

/// Denoises step by step with what `predict` makes of latents and timestep; `rows` are drawn from where the sampler adds
/// noise. Returns (B, C, H, W).
pub(super) fn denoise(
    predict: impl Fn(&Tensor, u32) -> Result<Tensor>,
    sampler: &Sampler,
    start: Start,
    rows: &[Noise],
    on_step: OnStep<'_>,
) -> Result<Tensor> {
    let Start { mut latents, first, kept } = start;
    let (mut memory, n_steps) = (Memory::default(), sampler.timesteps().len());
    for (index, timestep) in sampler.timesteps().iter().enumerate().skip(first) {
        let predicted = predict(&latents, *timestep)?;
        let noise = if sampler.wants_noise() {
            let shape = latents.dims().get(1..).unwrap_or_default();
            Some(drawn(rows, &format!("step/{index}"), shape, latents.device())?)
        } else {
            None
        };
        latents = sampler.step(&predicted, index, &latents, noise.as_ref(), &mut memory)?;
        if let Some(kept) = &kept {
            latents = kept.blend(&latents, sampler, index + 1)?;
        }
        on_step(index + 1 - first, n_steps - first);
    }
    Ok(latents)
}

impl Kept {
    /// `latents` with what stays in its place, as noisy as it is before step `index`: as diffusers' inpainting pipeline
    /// does for models that know of no masks.
    fn blend(&self, latents: &Tensor, sampler: &Sampler, index: usize) -> Result<Tensor> {
        let source = sampler.add_noise(&self.source, &self.noise, index)?;
        Ok((&source + (latents - &source)?.broadcast_mul(&self.mask)?)?)
    }
}

/// Noise for `purpose`, of each row's own seed: an image does not depend on what else is in its batch.
pub(super) fn drawn(rows: &[Noise], purpose: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
    let rows: Vec<Noise> = rows.iter().map(|noise| noise.of(purpose)).collect();
    Ok(Noise::normal_rows(&rows, shape, device)?)
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
