//! What `scheduler_config.json` of diffusers says about noise.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{EngineError, Result};

/// How the noise added per timestep grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β grows linearly.
    Linear,
    /// √β grows linearly: Stable Diffusion's.
    ScaledLinear,
    /// ᾱ falls as a squared cosine, β at most 0.999 (arXiv 2102.09672).
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// What the model predicts, given x_t = √ᾱ·x0 + √(1-ᾱ)·ε.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise, ε.
    Epsilon,
    /// The velocity, v = √ᾱ·ε - √(1-ᾱ)·x0 (arXiv 2202.00512).
    VPrediction,
    /// The picture, x0.
    Sample,
}

/// Which timesteps are visited when there are fewer steps than in training (arXiv 2305.08891, Table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Every k-th from the first, plus `steps_offset`.
    Leading,
    /// Every k-th from the last.
    Trailing,
    /// Evenly from the first to the last.
    Linspace,
}

/// How much noise an ancestral step adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// The posterior's variance when x0 is known: the least.
    FixedSmall,
    /// β: the most.
    FixedLarge,
}

/// A noise schedule and how to sample along it: diffusers' `scheduler_config.json`, with its defaults for what is not
/// there.
///
/// The class in the file does not matter: as in diffusers, any of them can be sampled with any sampler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoiseConfig {
    /// Timesteps of training, T.
    pub num_train_timesteps: u32,
    /// β of the first timestep.
    pub beta_start: f64,
    /// β of the last timestep.
    pub beta_end: f64,
    /// How β grows between them.
    pub beta_schedule: BetaSchedule,
    /// Whether β is rescaled so that the last timestep is noise alone (arXiv 2305.08891, Algorithm 1).
    pub rescale_betas_zero_snr: bool,
    /// What the model predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps are visited.
    pub timestep_spacing: TimestepSpacing,
    /// Added to every timestep of leading spacing.
    pub steps_offset: u32,
    /// Whether DDIM's last step ends without noise; if not, it ends with that of timestep 0.
    pub set_alpha_to_one: bool,
    /// Whether x0 is clipped when it is predicted: right for pixels, wrong for latents.
    pub clip_sample: bool,
    /// To which range, ±.
    pub clip_sample_range: f64,
    /// How much noise an ancestral step adds.
    pub variance_type: VarianceType,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            rescale_betas_zero_snr: false,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
            set_alpha_to_one: true,
            clip_sample: true,
            clip_sample_range: 1.0,
            variance_type: VarianceType::FixedSmall,
        }
    }
}

impl NoiseConfig {
    /// The schedule of Stable Diffusion 2: √β from √0.00085 to √0.012 in 1000 timesteps, one step of offset.
    #[must_use]
    pub fn stable_diffusion(prediction_type: PredictionType) -> Self {
        Self {
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            prediction_type,
            steps_offset: 1,
            set_alpha_to_one: false,
            clip_sample: false,
            ..Self::default()
        }
    }

    /// Reads the config `file`.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or asks for what there is not here.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| EngineError::io(file, error))?;
        Self::parse(&text).map_err(|message| EngineError::config(file, message))
    }

    /// Reads JSON; the error is a message without the file's name.
    fn parse(text: &str) -> Result<Self, String> {
        Self::from_json(&json_object(text)?)
    }

    /// Reads the object of a file.
    pub(super) fn from_json(json: &JsonObject) -> Result<Self, String> {
        for (key, value) in json {
            refuse_unsupported(key, value)?;
        }
        let json = serde_json::Value::Object(json.clone());
        let config: Self = serde_json::from_value(json).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// Whether the numbers make sense: the message says which does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { num_train_timesteps, beta_start, beta_end, clip_sample_range, .. } = self;
        if !(1..=1_000_000).contains(num_train_timesteps) {
            return Err(format!("`num_train_timesteps` is {num_train_timesteps}: it must be 1 to 1000000"));
        }
        let is_rising = *beta_start > 0.0 && beta_start <= beta_end && *beta_end < 1.0;
        if self.beta_schedule != BetaSchedule::SquaredCosine && !is_rising {
            return Err(format!(
                "`beta_start` is {beta_start} and `beta_end` is {beta_end}: it must be 0 < start <= end < 1"
            ));
        }
        if self.clip_sample && !(*clip_sample_range > 0.0 && clip_sample_range.is_finite()) {
            return Err(format!("`clip_sample_range` is {clip_sample_range}: it must be above 0"));
        }
        Ok(())
    }
}

/// The object of a JSON file, without keys that are null.
pub(super) type JsonObject = serde_json::Map<String, serde_json::Value>;

/// Reads JSON as Python writes it: what is infinite or not a number becomes null, and goes.
pub(super) fn json_object(text: &str) -> Result<JsonObject, String> {
    let json: JsonObject =
        serde_json::from_str(&without_infinities(text)).map_err(|error| format!("is not a JSON object: {error}"))?;
    Ok(json.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

/// Python's json writes numbers that JSON does not have: diffusers' `lambda_min_clipped` is -Infinity as a rule.
fn without_infinities(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for (index, part) in text.split('"').enumerate() {
        // Keys and words hold no escaped quotes; where one does, what follows is left as it is, or fails to be JSON.
        if index > 0 {
            found.push('"');
        }
        let replaced =
            ["-Infinity", "Infinity", "NaN"].iter().fold(part.to_owned(), |part, word| part.replace(word, "null"));
        found.push_str(if index.is_multiple_of(2) { &replaced } else { part });
    }
    found
}

/// Refuses what would be read over silently otherwise, and names the key of an unknown word, which serde does not.
fn refuse_unsupported(key: &str, value: &serde_json::Value) -> Result<(), String> {
    let supported = match key {
        "beta_schedule" => ["linear", "scaled_linear", "squaredcos_cap_v2"].as_slice(),
        "prediction_type" => &["epsilon", "v_prediction", "sample"],
        "timestep_spacing" => &["leading", "trailing", "linspace"],
        "variance_type" => &["fixed_small", "fixed_large"],
        "thresholding" | "trained_betas" => {
            let is_off = value.is_null() || value == &serde_json::Value::Bool(false);
            return if is_off { Ok(()) } else { Err(format!("`{key}` is {value}: only null and false are supported")) };
        }
        _ => return Ok(()),
    };
    match value {
        serde_json::Value::String(word) if supported.contains(&word.as_str()) => Ok(()),
        serde_json::Value::Null => Ok(()),
        _ => Err(format!("`{key}` is {value}: supported are {}", supported.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As published with Stable Diffusion 2, whose sampler is another class.
    const STABLE_DIFFUSION: &str = r#"{"_class_name": "PNDMScheduler", "_diffusers_version": "0.10.0.dev0",
        "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false,
        "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": false, "skip_prk_steps": true,
        "steps_offset": 1, "trained_betas": null}"#;

    #[test]
    fn the_published_config_is_the_preset() {
        let read = NoiseConfig::parse(STABLE_DIFFUSION).unwrap();
        assert_eq!(read, NoiseConfig::stable_diffusion(PredictionType::Epsilon));
        let v = NoiseConfig::parse(&STABLE_DIFFUSION.replace("epsilon", "v_prediction")).unwrap();
        assert_eq!(v, NoiseConfig::stable_diffusion(PredictionType::VPrediction));
    }

    #[test]
    fn what_python_writes_is_read() {
        let config =
            NoiseConfig::parse(r#"{"lambda_min_clipped": -Infinity, "x": [NaN, Infinity], "y": "NaN"}"#).unwrap();
        assert_eq!(config, NoiseConfig::default());
        let json = json_object(r#"{"lambda_min_clipped": -Infinity, "Infinity": "NaN", "z": null}"#).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), r#"{"Infinity":"NaN"}"#);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = NoiseConfig { beta_schedule: BetaSchedule::SquaredCosine, ..NoiseConfig::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains("squaredcos_cap_v2") && text.contains("fixed_small"), "{text}");
        assert_eq!(NoiseConfig::parse(&text).unwrap(), config);
    }

    #[test]
    fn what_there_is_not_is_refused_by_key_and_value() {
        for (json, message) in [
            (
                r#"{"beta_schedule": "laplace"}"#,
                "`beta_schedule` is \"laplace\": supported are linear, scaled_linear, squaredcos_cap_v2",
            ),
            (r#"{"thresholding": true}"#, "`thresholding` is true: only null and false are supported"),
            (r#"{"trained_betas": [0.1]}"#, "`trained_betas` is [0.1]: only null and false are supported"),
            (
                r#"{"variance_type": "learned_range"}"#,
                "`variance_type` is \"learned_range\": supported are fixed_small, fixed_large",
            ),
            (r#"{"num_train_timesteps": 0}"#, "`num_train_timesteps` is 0: it must be 1 to 1000000"),
            (r#"{"beta_end": 1.0}"#, "`beta_start` is 0.0001 and `beta_end` is 1: it must be 0 < start <= end < 1"),
            (r#"{"clip_sample_range": 0}"#, "`clip_sample_range` is 0: it must be above 0"),
        ] {
            assert_eq!(NoiseConfig::parse(json).unwrap_err(), message);
        }
        assert!(NoiseConfig::parse("[1]").unwrap_err().starts_with("is not a JSON object"));
        assert!(NoiseConfig::parse(r#"{"beta_end": "x"}"#).is_err());
        let error = NoiseConfig::read(Path::new("/nowhere/scheduler_config.json")).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/scheduler_config.json: "), "{error}");
    }
}
