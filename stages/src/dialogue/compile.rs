//! From the keys of a `dialogue` stage to its node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde_json::{Value, json};

use super::config::{BackendConfig, DialogueConfig};
use super::converse::Rules;
use super::embedded::Embedded;
use super::join::Join;
use super::openai::{OpenAi, Patience};
use super::replies::Replies;
use super::template;
use super::work::{Backend, DialogueWork};
use crate::models::ModelStore;
use crate::tables;

/// Raised when the same candidates and replies come to make other dialogues. The texts that the model is told have a version of
/// their own: [`template::VERSION`].
pub(super) const OUTPUT_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: DialogueConfig,
    models: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    if !(0.0..=2.0).contains(&config.temperature) {
        issues.push(ConfigIssue::new("/temperature", "must be from 0 to 2"));
    }
    if !(0.0..=1.0).contains(&config.limits.vague_overlap) {
        issues.push(ConfigIssue::new("/limits/vague_overlap", "must be from 0 to 1"));
    }
    let mut seen = BTreeSet::new();
    for (index, act) in config.speech_acts.iter().enumerate().filter(|(_, act)| !seen.insert(**act)) {
        let message = format!("names `{}` a second time", act.as_str());
        issues.push(ConfigIssue::new(format!("/speech_acts/{index}"), message));
    }
    let positive = [
        ("per_candidate", config.per_candidate),
        ("max_tokens", config.max_tokens),
        ("tries", config.tries),
        ("concurrency", config.concurrency),
        ("deadline_secs", config.deadline_secs),
        ("patience_secs", config.patience_secs),
    ];
    for (key, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
        issues.push(ConfigIssue::new(format!("/{key}"), "must be at least 1"));
    }
    let backend = backend(&config, models, context).map_err(|issue| issues.push(issue)).ok();
    let Some((backend, model, settings)) = backend.filter(|_| issues.is_empty()) else { return Err(issues) };

    let mut reads = vec![Read::aligned(tables::CANDIDATES), Read::aligned(tables::PAIRS)];
    if config.filtered {
        reads.push(Read::aligned(tables::VERDICTS).from_every().with_columns(["accepted", "reason", "thresholds"]));
    }
    Ok(NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        // Not where the server is, nor how patiently it is asked.
        settings: json!({
            "backend": settings,
            "template": template::VERSION,
            "per_candidate": config.per_candidate,
            "speech_acts": config.speech_acts,
            "filtered": config.filtered,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "tries": config.tries,
            "limits": config.limits,
        }),
        reads,
        writes: vec![tables::dialogues(), tables::dialogue_tries()],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(DialogueWork {
            backend,
            model,
            rules: Rules {
                per_candidate: config.per_candidate,
                acts: config.speech_acts,
                tries: config.tries,
                limits: config.limits,
            },
            filtered: config.filtered,
            join: Join::default(),
            replies: Replies::default(),
        })),
    })
}

/// The backend, the model's name, and what of both decides replies.
fn backend(
    config: &DialogueConfig,
    models: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<(Backend, String, Value), ConfigIssue> {
    match &config.backend {
        BackendConfig::Openai { base_url, model, api_key_env } => {
            if model.trim().is_empty() {
                return Err(ConfigIssue::new("/backend/model", "is empty").with_help("name it as the server does"));
            }
            let patience = Patience {
                concurrency: config.concurrency as usize,
                deadline: Duration::from_secs(config.deadline_secs.into()),
                outage: Duration::from_secs(config.patience_secs.into()),
            };
            let server = OpenAi::new(base_url, model, api_key_env.clone(), config, patience)?;
            let settings = json!({ "type": "openai", "model": model, "structured": config.structured });
            Ok((Backend::OpenAi(Box::new(server)), model.clone(), settings))
        }
        BackendConfig::Embedded { model } => {
            let (embedded, weights) = Embedded::find(model, config, models, context)?;
            // A folder's name is no name of a model, and says nothing that its digest does not.
            let settings = json!({ "type": "embedded", "weights": weights });
            Ok((Backend::Embedded(Box::new(embedded)), model.clone(), settings))
        }
    }
}
