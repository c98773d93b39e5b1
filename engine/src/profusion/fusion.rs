//! Fusion sampling (ProFusion, arXiv 2305.13579): the subject and the rest of the prompt are guided apart, and before each
//! step x_t is made anew so that it agrees with both.

use candle_core::{Result as TensorResult, Tensor};

use super::promptnet::PromptNet;
use super::settings::FusionSettings;
use super::text::{SubjectPrompt, SubjectText};
use crate::error::{EngineError, Result};
use crate::noise::{DdimScheduler, NoiseConfig};
use crate::unet::{Conditioning, UNet};

/// Factors of step A: x ← x − ε·`of_epsilon` + z·`of_noise`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refinement {
    /// σ²·√(1−a)/(1−p).
    pub of_epsilon: f64,
    /// σ·√((1−a)(2−2p−σ²))/(1−p).
    pub of_noise: f64,
}

impl Refinement {
    /// With a = ᾱ_t, p = ᾱ_{t−1} and σ² = η²·(1−p)/(1−a)·(1−a/p). Written with k = σ²/(1−p), which has a value where p
    /// is 1 too.
    ///
    /// It is x_{t−1} drawn given x_t and x0, then x_t drawn given both: for u = (x_t − √a·x0)/√(1−a) and ρ² = 1 − k that is
    /// u' = ρ²·u + √((1−ρ²)(1+ρ²))·z, of the same variance.
    #[must_use]
    pub fn new(alpha: f64, before: f64, eta: f64) -> Self {
        let k = eta.powi(2) * (1.0 - alpha / before) / (1.0 - alpha);
        Self { of_epsilon: k * (1.0 - alpha).sqrt(), of_noise: ((1.0 - alpha) * k * (2.0 - k)).max(0.0).sqrt() }
    }
}

/// A picture of the subject, for a batch of 1 or as large as that of the latents.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Latents, scaled: (B or 1, C, s, s).
    pub latents: Tensor,
    /// Vision tokens, (B or 1, N, D_vision).
    pub vision: Tensor,
    /// s1 of a further picture; that of the first is [`FusionSettings::subject_scale`].
    pub scale: f64,
}

/// Noise that sampling asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// z of a step A.
    Refine {
        /// Of which step, from 0, whether or not sampling began with it.
        step: usize,
        /// Which repetition, from 0.
        repetition: u32,
    },
    /// What a step B adds where DDIM's η is above 0.
    Step {
        /// Which, from 0.
        step: usize,
    },
}

/// Makes noise of the latents' shape.
pub type DrawNoise<'a> = &'a dyn Fn(Drawn, &[usize]) -> Result<Tensor>;

/// All that a sampling needs but latents and noise.
pub struct Fusion<'a> {
    promptnet: &'a PromptNet,
    unet: &'a UNet,
    text: &'a SubjectText,
    references: &'a [Reference],
    prompt: SubjectPrompt,
    /// (1, T, D): of the negative prompt, and of the prompt with a noun.
    empty: Tensor,
    noun: Tensor,
    scheduler: DdimScheduler,
    settings: FusionSettings,
}

/// The texts of a sampling.
#[derive(Clone, Copy, Debug)]
pub struct FusionTexts<'a> {
    /// With `holder` in the place of the subject.
    pub prompt: &'a str,
    /// The same with a generic noun there: "a person" for "holder".
    pub noun_prompt: &'a str,
    /// Empty in ProFusion.
    pub negative: &'a str,
}

impl<'a> Fusion<'a> {
    /// `references` are the picture of the subject, and further ones with weights of their own.
    ///
    /// # Errors
    /// When there is no reference, the prompt has no slot, or a setting is out of range.
    pub fn new(
        (promptnet, unet, text): (&'a PromptNet, &'a UNet, &'a SubjectText),
        references: &'a [Reference],
        texts: FusionTexts<'_>,
        noise: &NoiseConfig,
        settings: FusionSettings,
    ) -> Result<Self> {
        settings.check()?;
        if references.is_empty() {
            return Err(EngineError::argument("no picture of the subject"));
        }
        let fusion = Self {
            promptnet,
            unet,
            text,
            references,
            prompt: text.prompt(texts.prompt, true)?,
            empty: text.states(texts.negative)?,
            noun: text.states(texts.noun_prompt)?,
            scheduler: DdimScheduler::new(noise, settings.n_steps, settings.ddim_eta)?,
            settings,
        };
        if settings.n_refine > 0 && fusion.scales().iter().sum::<f64>() == 0.0 {
            return Err(EngineError::argument("the scales of all pictures add up to 0: step A cannot weigh them"));
        }
        Ok(fusion)
    }

    /// The walk of step B.
    #[must_use]
    pub fn scheduler(&self) -> &DdimScheduler {
        &self.scheduler
    }

    /// The first step whose timestep is at most `t0`: where sampling from a noised picture begins.
    ///
    /// # Errors
    /// When all timesteps are above.
    pub fn first_step(&self, t0: u32) -> Result<usize> {
        self.scheduler.timesteps().iter().position(|timestep| *timestep <= t0).ok_or_else(|| {
            EngineError::argument(format!("a start at timestep {t0}: the first of all steps is above it"))
        })
    }

    /// A picture's latents (B, C, s, s), noised as they are before step `index`.
    ///
    /// # Errors
    /// When there is no such step, or shapes differ.
    pub fn noised(&self, source: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor> {
        let (alpha, _) = self.scheduler.alphas(index)?;
        Ok((source.affine(alpha.sqrt(), 0.0)? + noise.affine((1.0 - alpha).sqrt(), 0.0)?)?)
    }

    /// Latents (B, C, s, s) from `latents` as they are before step `first`: for each step r times A, then B.
    ///
    /// # Errors
    /// When shapes do not fit, or of the tensors.
    pub fn sample(
        &self,
        latents: &Tensor,
        first: usize,
        draw: DrawNoise<'_>,
        on_step: crate::cafe::OnStep<'_>,
    ) -> Result<Tensor> {
        let n_steps = self.scheduler.timesteps().len();
        let mut x = latents.clone();
        for step in first..n_steps {
            for repetition in 0..self.settings.n_refine {
                x = self.refine(&x, step, &draw(Drawn::Refine { step, repetition }, x.dims())?)?;
            }
            let noise = self.scheduler.wants_noise().then(|| draw(Drawn::Step { step }, x.dims())).transpose()?;
            x = self.step(&x, step, noise.as_ref())?;
            on_step(step + 1 - first, n_steps - first);
        }
        Ok(x)
    }

    /// Step A of step `index`: x_t made anew under `noise`, z.
    ///
    /// # Errors
    /// As of [`Self::sample`].
    pub fn refine(&self, x: &Tensor, index: usize, noise: &Tensor) -> Result<Tensor> {
        let (alpha, before) = self.scheduler.alphas(index)?;
        let (none, subjects, _) = self.predictions(x, index, self.settings.gamma, false)?;
        let scales = self.scales();
        let total: f64 = scales.iter().sum();
        let mut output = none.clone();
        for (scale, subject) in scales.iter().zip(&subjects) {
            output = (output + ((subject - &none)? * (self.settings.refine_scale * scale / total))?)?;
        }
        let (_, epsilon) = self.scheduler.schedule().x0_and_epsilon(&output, x, alpha)?;
        let factors = Refinement::new(alpha, before, self.settings.refine_eta);
        Ok(((x - (epsilon * factors.of_epsilon)?)? + (noise * factors.of_noise)?)?)
    }

    /// Step B, number `index`: DDIM under ε_u + s1(ε_S − ε_u) + s2(ε_ref − ε_u), and so on for further pictures.
    ///
    /// # Errors
    /// As of [`Self::sample`].
    pub fn step(&self, x: &Tensor, index: usize, noise: Option<&Tensor>) -> Result<Tensor> {
        let (none, subjects, noun) = self.predictions(x, index, 1.0, self.settings.noun_scale != 0.0)?;
        let mut output = none.clone();
        for (scale, subject) in self.scales().iter().zip(&subjects) {
            output = (output + ((subject - &none)? * *scale)?)?;
        }
        if let Some(noun) = noun {
            output = (output + ((noun - &none)? * self.settings.noun_scale)?)?;
        }
        self.scheduler.step(&output, index, x, noise)
    }

    fn scales(&self) -> Vec<f64> {
        let further = self.references.iter().skip(1).map(|reference| reference.scale);
        std::iter::once(self.settings.subject_scale).chain(further).collect()
    }

    /// What the UNet predicts in `x` (B, C, s, s) under the negative prompt, under S* of each picture, and with the noun
    /// where that is asked for; in one batch.
    fn predictions(
        &self,
        x: &Tensor,
        index: usize,
        gamma: f64,
        with_noun: bool,
    ) -> Result<(Tensor, Vec<Tensor>, Option<Tensor>)> {
        let timestep = self.scheduler.timesteps().get(index).copied();
        let timestep = timestep.ok_or_else(|| EngineError::argument(format!("there is no step {index}")))?;
        let (n_rows, n_references) = (x.dim(0)?, self.references.len());
        let timesteps = |n: usize| Tensor::full(timestep, n, x.device());
        let times = |n: usize| Tensor::cat(&vec![x; n], 0);
        let latents = self.references.iter().map(|reference| rows(&reference.latents, n_rows));
        let vision = self.references.iter().map(|reference| rows(&reference.vision, n_rows));
        let subject = self.promptnet.forward(
            &Tensor::cat(&latents.collect::<TensorResult<Vec<_>>>()?, 0)?,
            &times(n_references)?,
            &timesteps(n_references * n_rows)?,
            &Tensor::cat(&vision.collect::<TensorResult<Vec<_>>>()?, 0)?,
        )?; // (K·B, 1, D)
        let mut states = vec![rows(&self.empty, n_rows)?, self.text.inject(&self.prompt, &subject, gamma)?];
        if with_noun {
            states.push(rows(&self.noun, n_rows)?);
        }
        let n_parts = 1 + n_references + usize::from(with_noun);
        let states = Conditioning::Text(Tensor::cat(&states, 0)?); // (parts·B, T, D)
        let predicted = self.unet.forward(&times(n_parts)?, &timesteps(n_parts * n_rows)?, &states)?;
        let part = |number: usize| predicted.narrow(0, number * n_rows, n_rows);
        let subjects = (1..=n_references).map(part).collect::<TensorResult<_>>()?;
        Ok((part(0)?, subjects, with_noun.then(|| part(n_parts - 1)).transpose()?))
    }
}

/// `tensor` (B or 1, …) as `n_rows` rows.
fn rows(tensor: &Tensor, n_rows: usize) -> TensorResult<Tensor> {
    match tensor.dim(0)? {
        1 => Tensor::cat(&vec![tensor; n_rows], 0),
        n if n == n_rows => Ok(tensor.clone()),
        n => candle_core::bail!("a reference of {n} rows for {n_rows} pictures: 1 or as many are wanted"),
    }
}

#[cfg(test)]
#[path = "fusion_tests.rs"]
mod tests;
