//! Sampling: from noise to latents, under guidance.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::noise::{DdimScheduler, Guidance, Noise, guide_text};
use crate::unet::{CafeConditioning, Conditioning, UNet};

/// How latents are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerSettings {
    /// DDIM steps.
    pub n_steps: u32,
    /// 0 for deterministic DDIM, 1 for as much noise as DDPM adds.
    pub eta: f64,
    /// Height and width of the image, in pixels; where not given, what the UNet was trained for.
    pub size_px: Option<(usize, usize)>,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self { n_steps: 50, eta: 0.0, size_px: None }
    }
}

/// Told after each step: how many are done, of how many.
pub type OnStep<'a> = &'a dyn Fn(usize, usize);

/// Makes one prediction of those of all branches, (branches·B, C, H, W).
type Combine<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

/// A UNet with the conditions of all branches of guidance, one batch after the other.
pub(super) struct Guided<'a> {
    pub(super) unet: &'a UNet,
    conditioning: Conditioning,
    n_branches: usize,
    combine: Combine<'a>,
}

impl<'a> Guided<'a> {
    /// CAFE's two conditions, each dropped or not as `guidance` asks.
    pub(super) fn cafe(unet: &'a UNet, conditions: &CafeConditioning, guidance: &'a Guidance) -> Result<Self> {
        let branches = guidance.branches();
        let kept = branches
            .iter()
            .map(|branch| conditions.only(branch.clip, branch.dino))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let clip: Vec<&Tensor> = kept.iter().map(|conditions| &conditions.clip).collect();
        let dino: Vec<&Tensor> = kept.iter().map(|conditions| &conditions.dino).collect();
        let conditions = CafeConditioning { clip: Tensor::cat(&clip, 0)?, dino: Tensor::cat(&dino, 0)? };
        Ok(Self {
            unet,
            conditioning: Conditioning::Cafe(conditions),
            n_branches: branches.len(),
            combine: Box::new(|predicted| guidance.combine_stacked(predicted)),
        })
    }

    /// Text against the empty text; both are (B, T, D).
    pub(super) fn text(unet: &'a UNet, states: &Tensor, empty: &Tensor, scale: f64) -> Result<Self> {
        let n_rows = states.dim(0)?;
        Ok(Self {
            unet,
            conditioning: Conditioning::Text(Tensor::cat(&[empty, states], 0)?),
            n_branches: 2,
            combine: Box::new(move |predicted| {
                let (without, with) = (predicted.narrow(0, 0, n_rows)?, predicted.narrow(0, n_rows, n_rows)?);
                Ok(guide_text(&without, &with, scale)?)
            }),
        })
    }

    fn predict(&self, latents: &Tensor, timestep: u32) -> Result<Tensor> {
        let repeated = Tensor::cat(&vec![latents; self.n_branches], 0)?; // (branches·B, C, H, W)
        let timesteps = Tensor::full(timestep, repeated.dim(0)?, latents.device())?;
        (self.combine)(&self.unet.forward(&repeated, &timesteps, &self.conditioning)?)
    }
}

/// Makes latents (B, C, H, W) of noise, B being the number of `rows`, which are the seeds of each row's noise: an image
/// does not depend on what else is in its batch. `shape` is (C, H, W).
pub(super) fn sample(
    guided: &Guided<'_>,
    scheduler: &DdimScheduler,
    shape: [usize; 3],
    rows: &[Noise],
    device: &Device,
    on_step: OnStep<'_>,
) -> Result<Tensor> {
    let latents = drawn(rows, "latents", &shape, device)?;
    denoise(guided, scheduler, latents, rows, on_step)
}

/// Denoises `latents` (B, C, H, W), step by step; `rows` are drawn from where the noise scheduler adds noise.
pub(super) fn denoise(
    guided: &Guided<'_>,
    scheduler: &DdimScheduler,
    latents: Tensor,
    rows: &[Noise],
    on_step: OnStep<'_>,
) -> Result<Tensor> {
    let mut latents = latents;
    let n_steps = scheduler.timesteps().len();
    for (index, timestep) in scheduler.timesteps().iter().enumerate() {
        let predicted = guided.predict(&latents, *timestep)?;
        let noise = if scheduler.wants_noise() {
            let shape = latents.dims().get(1..).unwrap_or_default();
            Some(drawn(rows, &format!("step/{index}"), shape, latents.device())?)
        } else {
            None
        };
        latents = scheduler.step(&predicted, index, &latents, noise.as_ref())?;
        on_step(index + 1, n_steps);
    }
    Ok(latents)
}

/// Noise for `purpose`, of each row's own seed.
fn drawn(rows: &[Noise], purpose: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
    let rows: Vec<Noise> = rows.iter().map(|noise| noise.of(purpose)).collect();
    Ok(Noise::normal_rows(&rows, shape, device)?)
}
