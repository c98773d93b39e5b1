//! From a file to a [`Manifest`], or to everything that is wrong with it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;

use super::document::{Document, HEAD, StageHead};
use super::error::{ManifestError, ManifestErrors};
use super::explain::stage_pointer;
use super::report::{At, Report};
use super::rules::Rules;
use super::tree::Tree;
use super::{Manifest, Stage, StageSettings, check, cross, syntax};
use crate::stage::{ConfigIssue, StageRegistry};

/// Larger files are taken for something else than a manifest.
const MAX_BYTES: u64 = 16 << 20;

impl Manifest {
    /// Reads and checks the manifest at `path`.
    ///
    /// # Errors
    /// All mistakes in it, or why it cannot be read.
    pub fn read(path: &Path, registry: &StageRegistry) -> Result<Self, ManifestErrors> {
        Self::parse(path, &read_text(path)?, registry)
    }

    /// Checks the manifest `text`, which stands in the file `path`.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(path: &Path, text: &str, registry: &StageRegistry) -> Result<Self, ManifestErrors> {
        let rules = Rules::new(registry).map_err(|message| faults_of_the_program(path, message))?;
        Self::parse_with(path, text, &rules)
    }

    pub(super) fn parse_with(path: &Path, text: &str, rules: &Rules) -> Result<Self, ManifestErrors> {
        let (tree, mut report) = examined(path, text, |tree, report| {
            check::schemas(rules, tree, report);
            cross::graph(tree, report);
            cross::models(tree, report);
            cross::places(tree, super::folder_of(path), report);
        })?;
        let manifest = if report.errors.is_empty() { build(path, text, rules, tree, &mut report) } else { None };
        manifest.ok_or_else(|| report.finish(path))
    }

    /// What a stage's kind found in stage number `stage`, as a mistake of the manifest.
    #[must_use]
    pub fn from_issue(&self, stage: usize, issue: &ConfigIssue) -> ManifestError {
        self.issue(&Report::new(&self.text), stage, issue)
    }

    /// What the kinds found, by number of stage, as mistakes of the manifest.
    #[must_use]
    pub fn from_issues<'a>(&self, issues: impl IntoIterator<Item = (usize, &'a ConfigIssue)>) -> ManifestErrors {
        let mut report = Report::new(&self.text);
        for (stage, issue) in issues {
            let error = self.issue(&report, stage, issue);
            report.errors.push(error);
        }
        report.finish(&self.path)
    }

    fn issue(&self, report: &Report<'_>, stage: usize, issue: &ConfigIssue) -> ManifestError {
        let slash = if issue.pointer.is_empty() || issue.pointer.starts_with('/') { "" } else { "/" };
        let pointer = format!("{}{slash}{}", stage_pointer(stage), issue.pointer);
        report.error(&self.spans, &pointer, At::Value, issue.message.clone(), issue.help.clone())
    }
}

/// The text's values, and the mistakes that `look` found in them; it looks where syntax and version are right.
pub(super) fn examined<'a>(
    path: &Path,
    text: &'a str,
    look: impl FnOnce(&Tree, &mut Report<'a>),
) -> Result<(Tree, Report<'a>), ManifestErrors> {
    let mut report = Report::new(text);
    let (table, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        // What was recovered is guesswork: errors found in it would mislead.
        syntax::explain(&faults, text, &mut report);
        return Err(report.finish(path));
    }
    let tree = Tree::new(table.get_ref());
    if check::version(&tree, &mut report) {
        tree.report_unfit(&mut report);
        look(&tree, &mut report);
    }
    report.settle(&tree.spans);
    Ok((tree, report))
}

pub(super) fn faults_of_the_program(path: &Path, message: String) -> ManifestErrors {
    let help = "this is a fault of the program, not of the manifest: please report it";
    ManifestErrors::unreadable(path, message, help)
}

fn read_text(path: &Path) -> Result<String, ManifestErrors> {
    let refuse = |message: String, help: &str| ManifestErrors::unreadable(path, message, help);
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => refuse(
            "there is no such file".to_owned(),
            "name the manifest with `-m FILE`, or make a new project with `cafe-data init DIR`",
        ),
        ErrorKind::IsADirectory => refuse("this is a folder".to_owned(), "name the manifest in it: a TOML file"),
        ErrorKind::PermissionDenied => {
            refuse("this file may not be read".to_owned(), "change its permissions, or run as its owner")
        }
        _ => refuse(format!("cannot be read: {error}"), "see whether the disk is there and healthy"),
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse(
            format!("larger than {} MiB, which no manifest is", MAX_BYTES >> 20),
            "is this the right file? Lists of data belong into files that the manifest names",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
        refuse(format!("not UTF-8 text: the first damaged character is in line {line}"), "save it as UTF-8")
    })
}

/// The checked tree as types, with the defaults filled in.
fn build(path: &Path, text: &str, rules: &Rules, tree: Tree, report: &mut Report<'_>) -> Option<Manifest> {
    let Tree { root, spans, .. } = tree;
    let document: Document = typed(root, |message| report.add(&spans, "", At::Value, message, None))?;
    let mut stages = Vec::new();
    for (index, table) in document.stage.iter().enumerate() {
        let mut refuse = |message| report.add(&spans, &stage_pointer(index), At::Value, message, None);
        let (mut common, config) = check::split(table, &rules.common);
        let head: Option<StageHead> = typed(common.clone(), &mut refuse);
        if let Some(common) = common.as_object_mut() {
            common.retain(|key, _| !HEAD.contains(&key.as_str()));
        }
        let settings: Option<StageSettings> = typed(common, &mut refuse);
        if let (Some(StageHead { name, kind, needs }), Some(common)) = (head, settings) {
            stages.push(Stage { name, kind, needs, common, config });
        }
    }
    (report.errors.is_empty()).then(|| Manifest {
        path: path.to_owned(),
        text: text.to_owned(),
        seed: document.seed,
        model_family: document.model_family,
        catalog: document.catalog,
        storage: document.storage,
        budget: document.budget,
        models: document.models,
        stages,
        spans,
    })
}

/// The schemas are made from these types, so that this should not fail; what does is said in serde's words.
pub(super) fn typed<T: DeserializeOwned>(value: Value, refuse: impl FnOnce(String)) -> Option<T> {
    serde_json::from_value(value).map_err(|error| refuse(error.to_string())).ok()
}
