//! The manifest against its schemas: the top level, the keys common to all stages, the keys of each stage's kind.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::VERSION;
use super::explain::{Explain, stage_pointer};
use super::report::{At, Report};
use super::rules::{Compiled, Rules, keys};
use super::schema::is_common;
use super::suggest::{closest, list, shown, type_of};
use super::tree::Tree;
use super::vocabulary::Vocabulary;

/// Whether the manifest is of a version that this program reads. If not, nothing else can be said about it.
pub(super) fn version(tree: &Tree, report: &mut Report<'_>) -> bool {
    let reads = format!("this program reads version {VERSION}");
    let write = format!("{reads}: write `version = {VERSION}`");
    let mut say = |message: String, help: String| report.add(&tree.spans, "/version", At::Value, message, Some(help));
    match tree.root.get("version") {
        None => {
            report.missing(
                String::new(),
                "version",
                Some(format!("{reads}: write `version = {VERSION}` as the first line")),
            );
        }
        Some(Value::Number(version)) if version.is_i64() || version.is_u64() => {
            if version.as_u64() == Some(u64::from(VERSION)) {
                return true;
            }
            let newer = version.as_u64().is_some_and(|version| version > u64::from(VERSION));
            let help = if newer { format!("{reads}; a newer cafe-data may read it") } else { write };
            say(format!("version {version} of the manifest format is unknown"), help);
            return false;
        }
        Some(_) if tree.holes.contains("/version") => {}
        Some(other) => {
            let quotes = if other.is_string() { ", without quotes" } else { "" };
            say(format!("expected an integer, found {}", type_of(other)), format!("{write}{quotes}"));
        }
    }
    true
}

/// Checks everything that schemas say.
pub(super) fn schemas(rules: &Rules, tree: &Tree, report: &mut Report<'_>) {
    let vocabulary = Vocabulary::new(rules);
    Explain { rules: &rules.document, base: "", others: &[], tree, vocabulary: &vocabulary }.check(report, &top(tree));
    for (index, stage) in stages(&tree.root) {
        let base = stage_pointer(index);
        let (common, own) = split(stage, &rules.common);
        Explain { rules: &rules.common, base: &base, others: &[], tree, vocabulary: &vocabulary }
            .check(report, &common);
        let shared: Vec<&str> = keys(&rules.common.schema, &rules.common.schema).into_keys().collect();
        match stage.get("kind").and_then(Value::as_str) {
            Some(name) => match rules.kinds.get(name) {
                Some(kind) => Explain { rules: kind, base: &base, others: &shared, tree, vocabulary: &vocabulary }
                    .check(report, &own),
                None => {
                    let help = unknown_kind(name, &vocabulary);
                    let message = format!("there is no stage kind {}", shown(&Value::from(name)));
                    report.add(&tree.spans, &format!("{base}/kind"), At::Value, message, Some(help));
                    foreign(rules, &vocabulary, tree, report, &base, &own);
                }
            },
            None => foreign(rules, &vocabulary, tree, report, &base, &own),
        }
    }
}

/// The top level, as it is compared with its schema.
pub(super) fn top(tree: &Tree) -> Value {
    let mut top = tree.root.clone();
    // The version has been judged already.
    if let Some(top) = top.as_object_mut() {
        top.insert("version".to_owned(), VERSION.into());
    }
    top
}

/// The stages that are tables.
pub(super) fn stages(root: &Value) -> impl Iterator<Item = (usize, &Map<String, Value>)> {
    let stages = root.get("stage").and_then(Value::as_array).into_iter().flatten().enumerate();
    stages.filter_map(|(index, stage)| Some((index, stage.as_object()?)))
}

/// A stage's keys: those of every stage, and those of its kind.
pub(super) fn split(stage: &Map<String, Value>, common: &Compiled) -> (Value, Value) {
    let (common, own): (Map<_, _>, Map<_, _>) =
        stage.clone().into_iter().partition(|(key, _)| is_common(key, &common.schema));
    (Value::Object(common), Value::Object(own))
}

fn unknown_kind(name: &str, vocabulary: &Vocabulary) -> String {
    let kinds = list(vocabulary.kinds.iter().copied(), "and");
    match closest(name, vocabulary.kinds.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? The kinds are {kinds}"),
        None => format!("the kinds are {kinds}"),
    }
}

/// Without its kind, a stage's keys can only be compared with those of all kinds.
fn foreign(rules: &Rules, vocabulary: &Vocabulary, tree: &Tree, report: &mut Report<'_>, base: &str, own: &Value) {
    let kinds = rules.kinds.values().chain([&rules.common]);
    let valid: BTreeSet<&str> = kinds.flat_map(|kind| keys(&kind.schema, &kind.schema).into_keys()).collect();
    let valid: Vec<&str> = valid.into_iter().collect();
    for key in own.as_object().into_iter().flat_map(Map::keys).filter(|key| !valid.contains(&key.as_str())) {
        vocabulary.unknown(report, tree, base, key, &valid);
    }
}
