//! From the keys of a `train` stage to its node.

use std::sync::Arc;

use cafe_engine::cafe::Role;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde_json::json;

use super::config::TrainConfig;
use super::work::TrainWork;
use crate::models::{self, ModelStore};
use crate::tables;

/// Raised when the same release and models come to make other weights.
const OUTPUT_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &TrainConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    if config.ema >= 1.0 {
        issues.push(ConfigIssue::new("/ema", "a mean that nothing is added to stays as it began: less than 1"));
    }
    if config.max_gradient_norm <= 0.0 {
        issues.push(ConfigIssue::new("/max_gradient_norm", "must be greater than 0"));
    }
    let found = models::family(store, config.family.as_deref(), "/family", context).and_then(|family| {
        let mut roles = vec![Role::ClipCondition, Role::DinoCondition, Role::TextToImage];
        if !config.from_base && family.join(Role::CafeUNet.folder()).is_dir() {
            roles.push(Role::CafeUNet);
        }
        Ok((models::roles_digest(&family, &roles, "/family")?, family))
    });
    let (weights, family) = match found {
        Ok(found) if issues.is_empty() => found,
        Ok(_) => return Err(issues),
        Err(issue) => {
            issues.push(issue);
            return Err(issues);
        }
    };
    let settings = json!({ "weights": weights, "training": config });
    Ok(vec![NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings: settings.clone(),
        reads: vec![Read::all(tables::RELEASES).with_columns(["release_id", "path", "digest"])],
        writes: vec![tables::weights()],
        bounds: Bounds::Single,
        work: Work::Whole(Arc::new(TrainWork { config: config.clone(), settings, family })),
    }])
}
