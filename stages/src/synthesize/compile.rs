//! From the keys of a `synthesize` stage to its node.

use std::sync::Arc;
use std::time::Duration;

use cafe_engine::profusion::{ProFusionSettings, TuneSettings};
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde_json::json;

use super::assistant::{CafeAssistant, Models};
use super::candidates::Made;
use super::config::{GeneratorConfig, SynthesizeConfig, WeightsConfig};
use super::profusion::ProFusion;
use super::recent::Recent;
use super::sid::Sid;
use super::trained::TrainedWeights;
use super::weights::{self, Weights};
use super::work::{Generator, SynthesizeWork};
use crate::join::Join;
use crate::models::{Loaded, ModelStore};
use crate::tables;

/// Raised when the same rows and models come to make other images.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &SynthesizeConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut issues = issues(config);
    let weights = match weights::find(config, store, context) {
        Ok(found) if issues.is_empty() => found,
        Ok(_) => return Err(issues),
        Err(issue) => {
            issues.push(issue);
            return Err(issues);
        }
    };
    let settings_digest = Hasher::new("synthesize-settings/v1").json("generator", &settings(config)).row_id();
    let weights_digest = weights.digest.clone();
    let made =
        Made { weights_digest: weights_digest.clone(), settings_digest, round: config.round, generator: name(config) };
    let mut writes = vec![tables::candidates(), tables::candidate_references()];
    if matches!(config.generator, GeneratorConfig::Assistant { .. }) {
        writes.push(tables::candidate_replies());
    }
    let (generator, reads, joins) = generator(config, weights);
    Ok(vec![NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings: json!({
            "weights": weights_digest,
            "generator": config.generator,
            "samples": config.samples,
            "round": config.round,
        }),
        reads,
        writes,
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(SynthesizeWork {
            generator,
            joins,
            samples: config.samples,
            made,
            deadline: Duration::from_secs(config.deadline_secs),
            trained: TrainedWeights::default(),
        })),
    }])
}

fn name(config: &SynthesizeConfig) -> &'static str {
    match config.generator {
        GeneratorConfig::Sid { .. } => "sid",
        GeneratorConfig::Profusion { .. } => "profusion",
        GeneratorConfig::Assistant { .. } => "assistant",
    }
}

/// What makes an image what it is, besides weights, α and noise: the α of a sweep are columns of their own.
fn settings(config: &SynthesizeConfig) -> serde_json::Value {
    match &config.generator {
        GeneratorConfig::Sid { guidance, sampling, .. } => {
            json!({ "type": "sid", "guidance": guidance, "sampling": sampling })
        }
        generator @ GeneratorConfig::Profusion { .. } => json!(generator),
        GeneratorConfig::Assistant { text, reply, guidance, sampling, .. } => {
            json!({ "type": "assistant", "text": text, "reply": reply, "guidance": guidance, "sampling": sampling })
        }
    }
}

fn issues(config: &SynthesizeConfig) -> Vec<ConfigIssue> {
    let mut issues = Vec::new();
    match &config.generator {
        GeneratorConfig::Sid { alphas, sampling, .. } => {
            issues.extend(alpha_issues(alphas));
            issues.extend(sampling.issues("/generator/sampling"));
        }
        GeneratorConfig::Assistant { alphas, sampling, reply, .. } => {
            issues.extend(alpha_issues(alphas));
            issues.extend(sampling.issues("/generator/sampling"));
            if reply.top_p <= 0.0 {
                let issue =
                    ConfigIssue::new("/generator/reply/top_p", "no token has a share of 0: none could be chosen");
                issues.push(issue.with_help("1 chooses among all, temperature = 0 takes the likeliest"));
            }
        }
        GeneratorConfig::Profusion { fusion, .. } => {
            for (key, scale) in [
                ("subject_scale", fusion.subject_scale),
                ("noun_scale", fusion.noun_scale),
                ("refine_scale", fusion.refine_scale),
            ] {
                if !scale.is_finite() {
                    issues.push(ConfigIssue::new(format!("/generator/fusion/{key}"), "must be a finite number"));
                }
            }
        }
    }
    issues
}

fn alpha_issues(alphas: &[f64]) -> Vec<ConfigIssue> {
    let mut issues = Vec::new();
    if alphas.is_empty() {
        let issue = ConfigIssue::new("/generator/alphas", "no α, so nothing would be made");
        issues.push(issue.with_help("for example alphas = [0.3, 0.5, 0.7]"));
    }
    for (index, alpha) in alphas.iter().enumerate() {
        let pointer = format!("/generator/alphas/{index}");
        if !(0.0..=1.0).contains(alpha) {
            issues.push(ConfigIssue::new(pointer, format!("α is a share, from 0 to 1, and not {alpha}")));
        } else if alphas.iter().take(index).any(|other| other == alpha) {
            issues.push(ConfigIssue::new(pointer, format!("{alpha} stands there twice")));
        }
    }
    issues
}

/// The generator, the tables that it reads, and how their rows meet.
fn generator(config: &SynthesizeConfig, Weights { family, llm, .. }: Weights) -> (Generator, Vec<Read>, Vec<Join>) {
    let references = Read::aligned(tables::REFERENCES).with_columns(["reference_id", "image"]);
    let references_join = Join::new(tables::REFERENCES, "reference_id", ["image"]);
    match &config.generator {
        GeneratorConfig::Sid { alphas, weights, guidance, sampling } => {
            let donors = Read::aligned(tables::DONORS).with_columns(["w_id", "pair_id", "image"]);
            let pairs = Read::aligned(tables::PAIRS).with_columns(["pair_id", "reference_id"]);
            let joins = vec![Join::new(tables::PAIRS, "pair_id", ["reference_id"]), references_join];
            let sid = Sid::new(family, alphas.clone(), guidance.guidance(), sampling.settings());
            let mut reads = vec![donors, pairs, references];
            if *weights == WeightsConfig::Trained {
                reads.push(Read::all(tables::WEIGHTS).with_columns(["weights_digest", "role", "path"]));
            }
            (Generator::Sid(Box::new(sid)), reads, joins)
        }
        GeneratorConfig::Profusion { iterations, augmentations, batch_size, learning_rate, fusion } => {
            let pairs = Read::aligned(tables::PAIRS).with_columns(["pair_id", "reference_id", "class", "caption"]);
            let tuning = TuneSettings {
                n_augmentations: *augmentations,
                n_iterations: (*iterations).into(),
                batch_size: *batch_size as usize,
                learning_rate: *learning_rate,
                ..TuneSettings::default()
            };
            let settings = ProFusionSettings { fusion: fusion.settings(), ..ProFusionSettings::default() };
            let profusion = ProFusion::new(family, tuning, settings);
            (Generator::ProFusion(Box::new(profusion)), vec![pairs, references], vec![references_join])
        }
        GeneratorConfig::Assistant { text, reply, alphas, guidance, sampling, .. } => {
            let pairs = Read::aligned(tables::PAIRS).with_columns(["pair_id", "reference_id", text.column()]);
            let assistant = CafeAssistant {
                models: Models { family, llm },
                alphas: alphas.clone(),
                reply: reply.settings(),
                guidance: guidance.guidance(),
                sampling: sampling.settings(),
                loaded: Loaded::default(),
                seen: Recent::default(),
            };
            (Generator::Assistant(Box::new(assistant), *text), vec![pairs, references], vec![references_join])
        }
    }
}
