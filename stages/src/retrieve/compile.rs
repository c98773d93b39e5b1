//! From the keys of a `retrieve` stage to its nodes: one, or with an index two.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cafe_engine::cafe::Role;
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde_json::{Value, json};

use super::config::{RetrieveConfig, SourceConfig};
use super::donors::Common;
use super::generated::Generated;
use super::index::{self, Look, Pictures};
use super::nearest::Nearest;
use super::work::{From, RetrieveWork};
use crate::models::{self, Loaded, ModelStore};
use crate::source::Reader;
use crate::tables;

/// Raised when the same pairs and models come to make other pictures.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// The part that looks at the pictures of an index.
const INDEX: &str = "index";

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &RetrieveConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut issues = issues(config);
    let roles: &[Role] = match config.source {
        SourceConfig::Generated { .. } => &[Role::TextToImage, Role::ClipCondition],
        SourceConfig::Index { .. } => &[Role::ClipCondition],
    };
    let family = models::family(store, config.family.as_deref(), "/family", context)
        .and_then(|family| Ok((models::roles_digest(&family, roles, "/family")?, family)));
    match family {
        Ok((weights, family)) if issues.is_empty() => Ok(nodes(config, context, weights, family)),
        Ok(_) => Err(issues),
        Err(issue) => {
            issues.push(issue);
            Err(issues)
        }
    }
}

fn issues(config: &RetrieveConfig) -> Vec<ConfigIssue> {
    let SourceConfig::Generated { tries, sampling, .. } = &config.source else { return Vec::new() };
    let mut issues = sampling.issues("/source/sampling");
    if config.keep > *tries {
        let message = format!("{} of {tries} pictures cannot be kept", config.keep);
        issues.push(ConfigIssue::new("/keep", message).with_help("raise `tries` of `source`"));
    }
    issues
}

fn nodes(
    config: &RetrieveConfig,
    context: &CompileContext<'_>,
    weights_digest: String,
    family: PathBuf,
) -> Vec<NodeDecl> {
    let keep = config.keep as usize;
    let pairs = Read::aligned(tables::PAIRS).with_columns(["pair_id", "caption"]);
    match &config.source {
        SourceConfig::Generated { tries, text_scale, sampling } => {
            let drawn = json!({ "tries": tries, "text_scale": text_scale, "sampling": sampling });
            let generated = Generated {
                family,
                tries: *tries,
                keep,
                text_scale: *text_scale,
                sampling: sampling.settings(),
                models: Loaded::default(),
            };
            vec![donors(
                config,
                ("generated", drawn),
                weights_digest,
                vec![pairs],
                From::Generated(Box::new(generated)),
            )]
        }
        SourceConfig::Index { pictures } => {
            let reader = Reader::new(context.manifest_dir.to_owned(), pictures.clone());
            let nearest = Nearest {
                reader: reader.clone(),
                family: family.clone(),
                keep,
                clip: Loaded::default(),
                index: Mutex::default(),
            };
            let reads = vec![pairs, Read::all(index::TABLE).from_part(INDEX)];
            let looked = NodeDecl {
                part: Some(INDEX),
                output_version: OUTPUT_VERSION,
                // Where the pictures lie is not here: the listing says what was found, wherever that is.
                settings: json!({ "weights": weights_digest }),
                reads: vec![],
                writes: vec![index::table()],
                bounds: Bounds::Source(Arc::new(Pictures(reader.clone()))),
                work: Work::Rows(Arc::new(Look { reader, family, clip: Loaded::default() })),
            };
            let from = From::Nearest(Box::new(nearest));
            vec![looked, donors(config, ("index", json!({})), weights_digest, reads, from)]
        }
    }
}

fn donors(
    config: &RetrieveConfig,
    (source, settings): (&'static str, Value),
    weights_digest: String,
    reads: Vec<Read>,
    from: From,
) -> NodeDecl {
    let settings_digest =
        Hasher::new("retrieve-settings/v1").text("source", source).json("settings", &settings).row_id();
    NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings: json!({ "weights": weights_digest, "keep": config.keep, source: settings }),
        reads,
        writes: vec![tables::donors()],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(RetrieveWork {
            from,
            common: Common { source, weights_digest, settings_digest },
            deadline: Duration::from_secs(config.deadline_secs),
        })),
    }
}
