//! What a node says of the model that it scores with: its digest decides the scores, the rest tells people, and
//! presets, which model it is.

use std::path::Path;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::plan::{Plan, PlanNode};
use cafe_pipeline::stage::ConfigIssue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::Scorer;
use crate::models;

/// The model of a node, under `model` in its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// `clip_filter`, `dino_judge`, ….
    pub role: String,
    /// Of all its files that count.
    pub digest: Digest,
    /// What its config says.
    pub architecture: Architecture,
}

/// As much of a `config.json` as tells published encoders apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// The width of a token.
    pub width: u64,
    /// Blocks.
    pub layers: u64,
    /// The side of a patch, in pixels.
    pub patch_px: u64,
    /// The activation: OpenAI's CLIP has another than OpenCLIP's.
    pub activation: String,
}

impl ModelFacts {
    /// Of the model in `folder`.
    pub(super) fn read(folder: &Path, role: &str, pointer: &str) -> Result<Self, ConfigIssue> {
        let digest = models::digest(folder, pointer)?;
        let path = folder.join("config.json");
        let config: Value = std::fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
            .map_err(|error| ConfigIssue::new(pointer, format!("cannot read {}: {error}", path.display())))?;
        Ok(Self { role: role.to_owned(), digest, architecture: Architecture::of(&config) })
    }
}

impl Architecture {
    /// Of a config of both CLIP's towers, of its image tower, or of a ViT, with the defaults of HF transformers.
    fn of(config: &Value) -> Self {
        let is_clip = config.get("vision_config").is_some()
            || config.get("model_type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("clip"));
        let empty = Value::Null;
        // The twin is of old versions, and wins over the other.
        let tower = [config.get("vision_config_dict"), config.get("vision_config"), Some(config)];
        let tower = tower.into_iter().flatten().find(|tower| !tower.is_null()).unwrap_or(&empty);
        let number = |key: &str, default: u64| tower.get(key).and_then(Value::as_u64).unwrap_or(default);
        let (patch_px, activation) = if is_clip { (32, "quick_gelu") } else { (16, "gelu") };
        Self {
            width: number("hidden_size", 768),
            layers: number("num_hidden_layers", 12),
            patch_px: number("patch_size", patch_px),
            activation: tower.get("hidden_act").and_then(Value::as_str).unwrap_or(activation).to_owned(),
        }
    }
}

/// The model with which the stage of `node` computes the scores of `scorer`; `None` where it is no `score` stage, or has
/// no such scorer.
#[must_use]
pub fn model_of(plan: &Plan, node: &PlanNode, scorer: Scorer) -> Option<ModelFacts> {
    let is_part = |other: &&PlanNode| other.stage == node.stage && other.decl.part == Some(scorer.part());
    let part = plan.nodes.iter().filter(|_| node.kind == "score").find(is_part)?;
    ModelFacts::deserialize(part.decl.settings.get("model")?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_configs_leave_out_is_what_transformers_takes() {
        let clip = Architecture { width: 768, layers: 12, patch_px: 32, activation: "quick_gelu".to_owned() };
        assert_eq!(Architecture::of(&json!({"model_type": "clip", "vision_config": {}})), clip);
        let both = json!({"vision_config": {"hidden_size": 1}, "vision_config_dict": {"patch_size": 32}});
        assert_eq!(Architecture::of(&both), clip);
        let dino = json!({"model_type": "vit", "hidden_size": 384, "hidden_act": "gelu"});
        let wanted = Architecture { width: 384, layers: 12, patch_px: 16, activation: "gelu".to_owned() };
        assert_eq!(Architecture::of(&dino), wanted);
    }
}
