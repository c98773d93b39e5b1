//! From the keys of an `instruct` stage to its nodes: one, or for a balanced pairing a census and one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde::Serialize;
use serde_json::{Value, json};

use super::book::Book;
use super::census::{self, CENSUS, Census};
use super::config::{InstructConfig, Pairing};
use super::draw;
use super::template::{self, Family};
use super::work::InstructWork;
use crate::tables;

/// Raised when the same references and templates come to make other pairs.
pub(super) const OUTPUT_VERSION: u32 = 1;
/// Raised when the same references come to have other ranks.
const CENSUS_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &InstructConfig,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    if config.templates.is_empty() {
        issues.push(ConfigIssue::new("/templates", "names no template file"));
    }
    if config.per_reference == 0 {
        issues.push(ConfigIssue::new("/per_reference", "must be at least 1"));
    }
    let class_default = config.class_default.as_ref().map(|class| class.trim().to_owned());
    if class_default.as_ref().is_some_and(String::is_empty) {
        issues.push(ConfigIssue::new("/class_default", "is empty").with_help("for example \"object\""));
    }
    let (families, digests) = read(config, "templates", &config.templates, context, &mut issues);
    let (held_out, _) = read(config, "held_out", &config.held_out, context, &mut issues);
    let at = |pointer: &str, mistakes: Vec<String>| -> Vec<ConfigIssue> {
        mistakes.into_iter().map(|mistake| ConfigIssue::new(pointer, mistake)).collect()
    };
    if !issues.is_empty() {
        return Err(issues);
    }
    let book = Book::new(families).map_err(|mistakes| at("/templates", mistakes))?;
    issues.extend(at("/held_out", book.overlaps(&held_out)));
    issues.extend(too_few(config, &book));
    if !issues.is_empty() {
        return Err(issues);
    }

    let mut reads = vec![Read::aligned(tables::REFERENCES)];
    let mut nodes = Vec::new();
    if config.pairing == Pairing::Balanced {
        reads.push(Read::all(CENSUS).from_part(CENSUS));
        nodes.push(census(class_default.clone()));
    }
    nodes.push(NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        // Held-out prompts only refuse plans: they change no row.
        settings: json!({
            "templates": digests,
            "per_reference": config.per_reference,
            "pairing": config.pairing,
            "class_default": class_default,
        }),
        reads,
        writes: vec![tables::pairs()],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(InstructWork {
            book,
            per_reference: config.per_reference as usize,
            pairing: config.pairing,
            class_default,
        })),
    });
    Ok(nodes)
}

/// A prompt that is kept for evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldOut {
    /// Its family.
    pub family: String,
    /// The command form, `{class}` for the class.
    pub instruction: String,
    /// The caption form.
    pub caption: String,
}

/// The prompts that `config` holds out, for reports and evaluation.
///
/// # Errors
/// What is wrong with the files.
pub fn held_out(config: &InstructConfig, context: &CompileContext<'_>) -> Result<Vec<HeldOut>, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    let (families, _) = read(config, "held_out", &config.held_out, context, &mut issues);
    if !issues.is_empty() {
        return Err(issues);
    }
    let prompts = families.into_iter().flat_map(|family| {
        let Family { name, templates, .. } = family;
        templates.into_iter().map(move |template| HeldOut {
            family: name.clone(),
            instruction: template.instruction,
            caption: template.caption,
        })
    });
    Ok(prompts.collect())
}

fn census(class_default: Option<String>) -> NodeDecl {
    NodeDecl {
        part: Some(CENSUS),
        output_version: CENSUS_VERSION,
        settings: json!({ "class_default": class_default }),
        reads: vec![Read::all(tables::REFERENCES)],
        writes: vec![census::table()],
        bounds: Bounds::Single,
        work: Work::Whole(Arc::new(Census { class_default })),
    }
}

/// The families of `paths`, and the files' digests in the order of the manifest, which is the order of the templates.
fn read(
    config: &InstructConfig,
    key: &str,
    paths: &[PathBuf],
    context: &CompileContext<'_>,
    issues: &mut Vec<ConfigIssue>,
) -> (Vec<Family>, Vec<Value>) {
    let mut families = Vec::new();
    let mut digests = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let pointer = format!("/{key}/{index}");
        if key == "held_out" && config.templates.contains(path) {
            issues.push(ConfigIssue::new(pointer, format!("{} is drawn from: see `templates`", path.display())));
            continue;
        }
        match read_file(&pointer, path, context) {
            Ok((read, digest)) => {
                families.extend(read);
                digests.push(json!(digest));
            }
            Err(found) => issues.extend(found),
        }
    }
    (families, digests)
}

fn read_file(
    pointer: &str,
    path: &Path,
    context: &CompileContext<'_>,
) -> Result<(Vec<Family>, Digest), Vec<ConfigIssue>> {
    let (text, digest) = context.read_text(pointer, path).map_err(|issue| vec![issue])?;
    match template::parse(&path.display().to_string(), &text) {
        Ok(families) => Ok((families, digest)),
        Err(mistakes) => Err(mistakes.into_iter().map(|mistake| ConfigIssue::new(pointer, mistake)).collect()),
    }
}

/// An issue for the first class whose references could not all be given different instructions.
fn too_few(config: &InstructConfig, book: &Book) -> Option<ConfigIssue> {
    let n = config.per_reference as usize;
    book.classes().into_iter().find_map(|class| {
        let suited = book.suited(&class);
        // A class without templates is an error of its references, if there are any.
        if suited.is_empty() {
            return None;
        }
        let why = draw::too_few(&suited, n, config.pairing == Pairing::Balanced)?;
        let class =
            if class.is_empty() { "a class that no family names".to_owned() } else { format!("class `{class}`") };
        Some(
            ConfigIssue::new("/per_reference", format!("{n} instructions are too many for {class}: {why}"))
                .with_help("lower `per_reference` or add templates"),
        )
    })
}
