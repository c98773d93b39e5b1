//! From the keys of a `retrieve` stage to its node.

use std::sync::Arc;
use std::time::Duration;

use cafe_engine::cafe::Role;
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde_json::json;

use super::config::{RetrieveConfig, SourceConfig};
use super::work::RetrieveWork;
use crate::models::{self, Loaded, ModelStore};
use crate::tables;

/// Raised when the same pairs and models come to make other pictures.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// The models that decide what is drawn, and what is kept of it.
const ROLES: [Role; 2] = [Role::TextToImage, Role::ClipCondition];

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &RetrieveConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let SourceConfig::Generated { tries, text_scale } = config.source;
    let mut issues = config.sampling.issues("/sampling");
    if config.keep > tries {
        let message = format!("{} of {tries} pictures cannot be kept", config.keep);
        issues.push(ConfigIssue::new("/keep", message).with_help("raise `tries` of `source`"));
    }
    let family = models::family(store, config.family.as_deref(), "/family", context)
        .and_then(|family| Ok((models::roles_digest(&family, &ROLES, "/family")?, family)));
    let (weights_digest, family) = match family {
        Ok(found) if issues.is_empty() => found,
        Ok(_) => return Err(issues),
        Err(issue) => {
            issues.push(issue);
            return Err(issues);
        }
    };
    let drawn = json!({ "tries": tries, "text_scale": text_scale, "sampling": config.sampling });
    let settings_digest = Hasher::new("retrieve-settings/v1").json("settings", &drawn).row_id();
    Ok(vec![NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings: json!({ "weights": weights_digest, "keep": config.keep, "generated": drawn }),
        reads: vec![Read::aligned(tables::PAIRS).with_columns(["pair_id", "caption"])],
        writes: vec![tables::donors()],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(RetrieveWork {
            family,
            weights_digest,
            settings_digest,
            tries,
            keep: config.keep as usize,
            text_scale,
            sampling: config.sampling.settings(),
            deadline: Duration::from_secs(config.deadline_secs),
            models: Loaded::default(),
        })),
    }])
}
