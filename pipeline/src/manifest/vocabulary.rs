//! All keys that a manifest may have, and the message about one that it may not have where it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pointer::{child, parent};
use super::report::{At, Report};
use super::rules::{Rules, keys};
use super::suggest::{SECRET_HELP, closest, is_secret, list};
use super::tree::Tree;

/// Where each key belongs, in words.
pub(super) struct Vocabulary {
    homes: BTreeMap<String, String>,
    /// The keys of each kind.
    own: BTreeMap<&'static str, BTreeSet<String>>,
    /// The kinds of stages.
    pub(super) kinds: Vec<&'static str>,
}

impl Vocabulary {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut homes = BTreeMap::new();
        // The first home of a key is the one that is told, so the most common ones come first.
        let mut add = |key: &str, home: String| {
            homes.entry(key.to_owned()).or_insert(home);
        };
        for (key, schema) in keys(&rules.document.schema, &rules.document.schema) {
            match schema.get("type").and_then(Value::as_str) {
                Some("object") => add(key, format!("`{key}` is a table of its own: write `[{key}]`")),
                Some("array") => add(key, format!("write each {key} as a table of its own: `[[{key}]]`")),
                _ => add(key, format!("`{key}` belongs at the top of the file, above the first `[table]`")),
            }
        }
        for (key, schema) in keys(&rules.common.schema, &rules.common.schema) {
            if schema.get("type").is_some_and(|name| name == "object") {
                add(key, format!("`{key}` belongs to a stage: write `[stage.{key}]` below its `[[stage]]`"));
            } else {
                add(key, format!("`{key}` belongs in a `[[stage]]` table"));
            }
        }
        for (table, schema) in keys(&rules.document.schema, &rules.document.schema) {
            for key in keys(&rules.document.schema, schema).into_keys() {
                add(key, format!("`{key}` belongs in the table `[{table}]`"));
            }
        }
        for (table, schema) in keys(&rules.common.schema, &rules.common.schema) {
            for key in keys(&rules.common.schema, schema).into_keys() {
                add(key, format!("`{key}` belongs in the table `{table}` of a stage"));
            }
        }
        for (kind, compiled) in &rules.kinds {
            for key in keys(&compiled.schema, &compiled.schema).into_keys() {
                add(key, format!("`{key}` is a key of stages of kind `{kind}`"));
            }
        }
        let own = rules.kinds.iter().map(|(kind, compiled)| {
            (*kind, keys(&compiled.schema, &compiled.schema).into_keys().map(ToOwned::to_owned).collect())
        });
        Self { homes, own: own.collect(), kinds: rules.kinds.keys().copied().collect() }
    }

    /// Reports a key of the table at `table` that is none of `valid`.
    pub(super) fn unknown(&self, report: &mut Report<'_>, tree: &Tree, table: &str, key: &str, valid: &[&str]) {
        let pointer = child(table, key);
        let place = if parent(table).is_none() { "at the top" } else { "here" };
        let known = match valid {
            [] => None,
            [only] => Some(format!("the only key {place} is `{only}`")),
            _ => Some(format!("the keys {place} are {}", list(valid.iter().copied(), "and"))),
        };
        // A kind may have several forms, each with keys of its own.
        let kind = tree.root.pointer(&child(table, "kind")).and_then(Value::as_str);
        let other_form = kind.and_then(|kind| self.own.get(kind)).is_some_and(|own| own.contains(key));
        let near = closest(key, valid.iter().copied());
        let help = if is_secret(key) {
            if let Some(place) = tree.spans.get(&pointer) {
                report.hide(place.value.clone());
            }
            Some(SECRET_HELP.to_owned())
        } else if let Some(near) = near {
            report.suggested(table, near);
            Some(format!("did you mean `{near}`?"))
        } else {
            self.homes.get(key).filter(|_| !other_form).cloned().or(known)
        };
        report.add(&tree.spans, &pointer, At::Key, format!("unknown key `{key}`"), help);
    }
}
