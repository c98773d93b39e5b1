//! Rules known by a name. Thresholds mean something for the weights that they were found with, and for no others: the
//! scores of two encoders have nothing to do with each other, and are never mapped to look alike.

use cafe_pipeline::plan::{Plan, PlanNode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{FilterConfig, RuleConfig};
use crate::score::{Architecture, ModelFacts, Scorer, model_of};
use crate::tables;

/// Rules known by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Preset {
    /// The thresholds of the CAFE paper: `clip >= 0.3` (OpenAI's CLIP ViT-B/32, image to text), then `dino >= 0.6` (DINO
    /// ViT-S/16, image to image). They mean something for scores of these weights only.
    #[serde(rename = "cafe-2023")]
    Cafe2023,
    /// For scores of the bundled mini family: what 5 % of false pairs of its `val` pictures reach, in the part of its world that
    /// its generators draw.
    #[serde(rename = "mini-1")]
    Mini1,
}

/// A threshold, and the model that it was found with.
struct Threshold {
    scorer: Scorer,
    column: &'static str,
    min: f64,
    model: Model,
}

/// How a preset knows its models.
enum Model {
    /// Published weights, whose digest is not known here: by what their config says.
    Like { name: &'static str, architecture: fn() -> Architecture },
    /// By the digest of the folder.
    Exactly { name: &'static str, digest: &'static str },
}

/// [`Preset::Cafe2023`].
static CAFE_2023: [Threshold; 2] = [
    Threshold {
        scorer: Scorer::Clip,
        column: "clip",
        min: 0.3,
        model: Model::Like { name: "OpenAI's CLIP ViT-B/32", architecture: || vit(768, 32, "quick_gelu") },
    },
    Threshold {
        scorer: Scorer::Dino,
        column: "dino",
        min: 0.6,
        model: Model::Like { name: "DINO ViT-S/16", architecture: || vit(384, 16, "gelu") },
    },
];

/// [`Preset::Mini1`]: `filter` in the world that is drawn, in `models/mini/measures/encoders.json`, rounded. A test compares.
static MINI_1: [Threshold; 2] = [
    Threshold {
        scorer: Scorer::Clip,
        column: "clip",
        min: 0.811,
        model: Model::Exactly {
            name: "the bundled clip_filter",
            digest: "44a15fad16edd3d21fda6c2499312ef0287fa1c2cd75cbe11a9772bfe3c9e971",
        },
    },
    Threshold {
        scorer: Scorer::Dino,
        column: "dino",
        min: 0.749,
        model: Model::Exactly {
            name: "the bundled dino_filter",
            digest: "a1e4afe56cd82e6691ac1c72442229f6cd04d49be36f439dc824c6124dfcc934",
        },
    },
];

fn vit(width: u64, patch_px: u64, activation: &str) -> Architecture {
    Architecture { width, layers: 12, patch_px, activation: activation.to_owned() }
}

impl Preset {
    /// The rules that the name stands for.
    #[must_use]
    pub fn rules(self) -> Vec<RuleConfig> {
        let rule = |threshold: &Threshold| RuleConfig {
            column: Some(threshold.column.to_owned()),
            min: Some(threshold.min),
            ..RuleConfig::default()
        };
        self.thresholds().iter().map(rule).collect()
    }

    /// The model that the threshold for scores of `scorer` was found with, where `found` is another one.
    #[must_use]
    pub fn other_model(self, scorer: Scorer, found: &ModelFacts) -> Option<&'static str> {
        let threshold = self.thresholds().iter().find(|threshold| threshold.scorer == scorer)?;
        (!threshold.model.fits(found)).then(|| threshold.model.name())
    }

    /// Its name in manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cafe2023 => "cafe-2023",
            Self::Mini1 => "mini-1",
        }
    }

    fn thresholds(self) -> &'static [Threshold] {
        match self {
            Self::Cafe2023 => &CAFE_2023,
            Self::Mini1 => &MINI_1,
        }
    }
}

impl Model {
    fn name(&self) -> &'static str {
        match self {
            Self::Like { name, .. } | Self::Exactly { name, .. } => name,
        }
    }

    fn fits(&self, found: &ModelFacts) -> bool {
        match self {
            Self::Like { architecture, .. } => found.architecture == architecture(),
            Self::Exactly { digest, .. } => found.digest.to_hex() == *digest,
        }
    }
}

/// What is to be said of the presets of `plan`: those that meet scores of other weights than they were made for. Scores
/// that programs of the user write are not looked at: what is behind them is not known.
#[must_use]
pub fn warnings(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    for node in plan.nodes.iter().filter(|node| node.kind == "filter" && node.decl.part.is_none()) {
        let stage = plan.manifest.stages.iter().find(|stage| stage.name == node.stage);
        let config = stage.and_then(|stage| FilterConfig::deserialize(&stage.config).ok());
        let Some(preset) = config.and_then(|config| config.preset) else { continue };
        let read = node.reads.iter().filter(|read| read.table == tables::SCORES);
        for scores in read.flat_map(|read| &read.from).filter_map(|name| plan.node(name)) {
            for threshold in preset.thresholds().iter().filter(|threshold| has(scores, threshold.column)) {
                let found = model_of(plan, scores, threshold.scorer);
                if let Some(found) = found.filter(|found| !threshold.model.fits(found)) {
                    warnings.push(warning(node, preset, threshold, scores, &found));
                }
            }
        }
    }
    warnings
}

fn has(node: &PlanNode, column: &str) -> bool {
    node.decl.writes.iter().any(|table| table.columns.contains(column))
}

fn warning(node: &PlanNode, preset: Preset, threshold: &Threshold, scores: &PlanNode, found: &ModelFacts) -> String {
    let Architecture { width, layers, patch_px, .. } = &found.architecture;
    format!(
        "{}: `{} >= {}` of the preset {} was found with {}, but `{}` scores with another {}: {layers} layers of {width}, \
         patches of {patch_px} px, {}; write rules for these weights instead",
        node.stage,
        threshold.column,
        threshold.min,
        preset.name(),
        threshold.model.name(),
        scores.stage,
        found.role,
        found.digest.to_hex().get(..12).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::models;

    /// When this fails, the bundled filters were trained, exported or measured again: write the new values above.
    #[test]
    fn mini_1_is_what_was_measured_with_what_is_bundled() {
        let mini = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini");
        let text = std::fs::read_to_string(mini.join("measures/encoders.json")).unwrap();
        let measured: serde_json::Value = serde_json::from_str(&text).unwrap();
        for threshold in &MINI_1 {
            let found = measured["drawn"]["filter"][threshold.column]["threshold"].as_f64().unwrap();
            assert_eq!(threshold.min, (found * 1000.0).round() / 1000.0, "{}", threshold.column);
            let Model::Exactly { digest, .. } = threshold.model else { panic!("not bundled") };
            let folder = mini.join("family").join(format!("{}_filter", threshold.column));
            assert_eq!(digest, models::digest(&folder, "").unwrap().to_hex(), "{}", folder.display());
        }
    }
}
