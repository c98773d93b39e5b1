//! From the keys of an `imagine` stage to its nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cafe_engine::cafe::Role;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, TableDecl, Work};
use serde_json::json;

use super::config::{ImagineConfig, Unfit};
use super::subjects::{DRAW, DRAWN, Subjects};
use super::work::{ImagineWork, Wishes};
use crate::models::{self, Loaded, ModelStore};
use crate::tables;

/// Raised when the same wishes and models come to make other pictures.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// Where the class goes in a prompt.
pub(super) const SLOT: &str = "{class}";

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &ImagineConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut issues = config.sampling.issues("/sampling");
    issues.extend(config.splits.issue());
    issues.extend(twice("/classes", &config.classes));
    issues.extend(twice("/prompts", &config.prompts));
    for (index, prompt) in config.prompts.iter().enumerate().filter(|(_, prompt)| !prompt.contains(SLOT)) {
        let message = format!("\"{prompt}\" has no {SLOT}");
        issues.push(
            ConfigIssue::new(format!("/prompts/{index}"), message).with_help("for example \"a photo of a {class}\""),
        );
    }
    let roles: &[Role] = match config.wrong_class {
        Unfit::Quarantine => &[Role::TextToImage, Role::ClipCondition],
        Unfit::Keep => &[Role::TextToImage],
    };
    let deadline = Duration::from_secs(config.deadline_secs);
    let subjects = config.single_subject.as_ref();
    let subjects = subjects.map(|keys| Subjects::find(keys, &config.classes, deadline, (store, context))).transpose();
    let subjects = subjects.unwrap_or_else(|found| {
        issues.extend(found);
        None
    });
    let family = models::family(store, config.family.as_deref(), "/family", context)
        .and_then(|family| Ok((models::roles_digest(&family, roles, "/family")?, family)));
    let (weights_digest, family) = match family {
        Ok(found) if issues.is_empty() => found,
        Ok(_) => return Err(issues),
        Err(issue) => {
            issues.push(issue);
            return Err(issues);
        }
    };
    let checked = (config.wrong_class == Unfit::Quarantine).then(|| config.classes.clone());
    let (part, table) = if subjects.is_some() { (Some(DRAW), DRAWN) } else { (None, tables::REFERENCES) };
    let draw = NodeDecl {
        part,
        output_version: OUTPUT_VERSION,
        // Classes, prompts and samples are the listing's: what one row becomes does not depend on the others, but where they
        // are what it could be taken for.
        settings: json!({
            "weights": weights_digest,
            "text_scale": config.text_scale,
            "sampling": config.sampling,
            "checked": checked,
            "licence": config.licence,
            "splits": config.splits,
        }),
        reads: vec![],
        writes: vec![TableDecl { name: table.to_owned(), ..tables::references() }],
        bounds: Bounds::Source(Arc::new(Wishes {
            classes: config.classes.clone(),
            prompts: config.prompts.clone(),
            samples: config.samples,
        })),
        work: Work::Rows(Arc::new(ImagineWork {
            family,
            source: format!("text_to_image {}", weights_digest.get(..16).unwrap_or_default()),
            text_scale: config.text_scale,
            sampling: config.sampling.settings(),
            classes: checked.unwrap_or_default(),
            licence: config.licence.clone(),
            splits: config.splits,
            deadline,
            table,
            models: Loaded::default(),
        })),
    };
    Ok(std::iter::once(draw).chain(subjects.map(Subjects::node)).collect())
}

/// An issue for each text that stands there before, or is empty.
fn twice(pointer: &str, texts: &[String]) -> Vec<ConfigIssue> {
    let (mut seen, mut issues) = (BTreeSet::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        let at = format!("{pointer}/{index}");
        if text.trim().is_empty() {
            issues.push(ConfigIssue::new(at, "is empty"));
        } else if !seen.insert(text.trim()) {
            issues.push(ConfigIssue::new(at, format!("\"{text}\" stands there twice")));
        }
    }
    issues
}
