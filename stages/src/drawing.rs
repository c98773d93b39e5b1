//! How pictures are drawn, as the keys of a stage say it: shared by all stages that run a diffusion model.

use cafe_engine::cafe::SamplerSettings;
use cafe_engine::noise::{Guidance, Order, SamplerKind};
use cafe_pipeline::stage::ConfigIssue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sampler.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Steps: 50 of ddim are usual, 20 of dpm-solver++.
    #[schemars(range(min = 1, max = 1000))]
    pub steps: u32,
    /// How noise is taken away. Default: what the family's `scheduler_config.json` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<SamplerConfig>,
    /// Noise that ddim adds: 0 none, 1 as much as DDPM.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eta: f64,
    /// How far guidance is brought back to the contrast of a picture without it: 0 not at all, 1 all the way.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub guidance_rescale: f64,
    /// Height and width in pixels. Default: what the model was trained for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_px: Option<[u32; 2]>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { steps: 50, sampler: None, eta: 0.0, guidance_rescale: 0.0, size_px: None }
    }
}

/// How noise is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SamplerConfig {
    /// First order, with new noise or without.
    #[serde(rename = "ddim")]
    Ddim,
    /// Second order, for fewer steps.
    #[serde(rename = "dpm-solver++")]
    DpmSolver,
}

impl SamplingConfig {
    /// The engine's settings.
    pub(crate) fn settings(&self) -> SamplerSettings {
        SamplerSettings {
            sampler: self.sampler.map(|sampler| match sampler {
                SamplerConfig::Ddim => SamplerKind::Ddim,
                SamplerConfig::DpmSolver => SamplerKind::DpmSolver,
            }),
            n_steps: self.steps,
            eta: self.eta,
            guidance_rescale: self.guidance_rescale,
            size_px: self.size_px.map(|[height, width]| (height as usize, width as usize)),
        }
    }

    /// What a schema cannot say.
    pub(crate) fn issues(&self, pointer: &str) -> Vec<ConfigIssue> {
        let mut issues = Vec::new();
        if self.sampler == Some(SamplerConfig::DpmSolver) && self.eta != 0.0 {
            let issue = ConfigIssue::new(format!("{pointer}/eta"), "dpm-solver++ adds no noise: `eta` must be 0");
            issues.push(issue.with_help("take `eta` out, or write sampler = \"ddim\""));
        }
        if self.size_px.is_some_and(|sides| sides.iter().any(|side| !(8..=8192).contains(side))) {
            issues.push(ConfigIssue::new(format!("{pointer}/size_px"), "a side is between 8 and 8192 pixels"));
        }
        issues
    }
}

/// How CAFE's two conditions are guided; a scale of 1 is what the model predicts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuidanceConfig {
    /// The form.
    pub form: GuidanceForm,
    /// Weight of E(x), in every form but joint.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub dino_scale: f64,
    /// Weight of the CLIP condition; of both in the joint form.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub clip_scale: f64,
}

impl Default for GuidanceConfig {
    fn default() -> Self {
        Self { form: GuidanceForm::Nested, dino_scale: 1.5, clip_scale: 7.5 }
    }
}

/// A form of guidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuidanceForm {
    /// E(x) against nothing, then the CLIP condition against E(x) alone (InstructPix2Pix).
    Nested,
    /// As nested, but the longer of the two differences is shortened to the other's length (SynCD).
    Normalised,
    /// Each condition alone against nothing (ProFusion).
    Independent,
    /// Both conditions against nothing.
    Joint,
    /// No guidance: one evaluation a step.
    None,
}

impl GuidanceConfig {
    /// The engine's guidance.
    pub(crate) fn guidance(&self) -> Guidance {
        let Self { form, dino_scale, clip_scale } = *self;
        match form {
            GuidanceForm::None => Guidance::None,
            GuidanceForm::Joint => Guidance::Joint { scale: clip_scale },
            GuidanceForm::Nested => Guidance::Nested { dino_scale, clip_scale, order: Order::DinoFirst },
            GuidanceForm::Normalised => Guidance::Normalised { dino_scale, clip_scale },
            GuidanceForm::Independent => Guidance::Independent { dino_scale, clip_scale },
        }
    }
}
