//! `instruct`: references become `pairs`: for each, instructions drawn from templates, in the command form ("Generate an
//! image of this dog on the beach.") and in the caption form ("a dog on the beach").

mod census;
mod config;
mod draw;
mod templates;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, StageDecl, StageKind, Work};
pub use config::{InstructConfig, Pairing};
use serde_json::json;
use templates::Templates;

use crate::tables;

/// Raised when the same references and templates come to give other pairs.
const OUTPUT_VERSION: u32 = 1;

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstructKind;

impl StageKind for InstructKind {
    fn kind(&self) -> &'static str {
        "instruct"
    }

    fn about(&self) -> &'static str {
        "draws instructions and captions for each reference from template files"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(InstructConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let config: InstructConfig = stage.config()?;
        let (templates, digests) = load(&config, context)?;
        let is_balanced = config.pairing == Pairing::Balanced;
        let settings = json!({
            "per_reference": config.per_reference,
            "pairing": config.pairing,
            "class_default": config.class_default,
            "templates": digests,
        });
        let mut nodes = Vec::new();
        let columns = ["reference_id", "class"];
        let mut reads = vec![Read::aligned(tables::REFERENCES).with_columns(columns)];
        if is_balanced {
            nodes.push(NodeDecl {
                part: Some("census"),
                output_version: OUTPUT_VERSION,
                settings: json!({ "class_default": config.class_default }),
                reads: vec![Read::all(tables::REFERENCES).with_columns(columns)],
                writes: vec![census::table()],
                bounds: Bounds::Single,
                work: Work::Whole(Arc::new(census::Census { class_default: config.class_default.clone() })),
            });
            reads.push(Read::all(census::TABLE).from_part("census"));
        }
        nodes.push(NodeDecl {
            part: None,
            output_version: OUTPUT_VERSION,
            settings,
            reads,
            writes: vec![tables::pairs()],
            bounds: Bounds::Aligned,
            work: Work::Rows(Arc::new(work::Instruct::new(config, templates))),
        });
        Ok(nodes)
    }
}

/// The templates to draw from, with the digests of all files. Held-out files are read only to be kept out.
fn load(config: &InstructConfig, context: &CompileContext<'_>) -> Result<(Templates, Vec<Digest>), Vec<ConfigIssue>> {
    let (mut templates, mut held_out) = (Templates::default(), Templates::default());
    let (mut digests, mut issues) = (Vec::new(), Vec::new());
    for (key, paths, into) in
        [("templates", &config.templates, &mut templates), ("held_out", &config.held_out, &mut held_out)]
    {
        for (index, path) in paths.iter().enumerate() {
            let pointer = format!("/{key}/{index}");
            match context.read_text(&pointer, path) {
                Ok((text, digest)) => {
                    digests.push(digest);
                    let found = into.add(&path.display().to_string(), &text);
                    issues.extend(found.into_iter().map(|message| ConfigIssue::new(&pointer, message)));
                }
                Err(issue) => issues.push(issue),
            }
        }
    }
    for message in templates.overlap(&held_out) {
        issues.push(
            ConfigIssue::new("/held_out", message)
                .with_help("take it out of one of the files: a prompt of the test must not be trained on"),
        );
    }
    if issues.is_empty() { Ok((templates, digests)) } else { Err(issues) }
}
