//! Template files: parsed and checked, every mistake with its file and key.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::words;
use crate::ids;

/// A template file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFile {
    /// Names for several classes, for use in `classes`.
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    family: Vec<FamilyTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyTable {
    name: String,
    classes: Vec<String>,
    #[serde(default)]
    template: Vec<TemplateTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateTable {
    instruction: String,
    caption: String,
}

/// Templates of one kind.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) name: String,
    /// Lower case; `None` for every class.
    pub(super) classes: Option<Vec<String>>,
    pub(super) templates: Vec<Template>,
}

/// One thing to ask for.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) instruction_id: String,
    pub(super) instruction: String,
    pub(super) caption: String,
    /// File and position, for messages.
    pub(super) place: String,
}

/// Reads the families of `text`; `file` is how messages call it.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Family>, Vec<String>> {
    let parsed: TemplateFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        vec![format!("{file}, line {line}: {}", error.message().replace('\n', "; "))]
    })?;
    let mut mistakes = Vec::new();
    if parsed.family.is_empty() {
        mistakes.push(format!("{file}: has no `[[family]]`"));
    }
    let groups = parsed.groups.into_iter().map(|(name, classes)| (class_key(&name), classes)).collect();
    let families = parsed
        .family
        .into_iter()
        .zip(1..)
        .map(|(family, n)| checked(file, n, family, &groups, &mut mistakes))
        .collect();
    if mistakes.is_empty() { Ok(families) } else { Err(mistakes) }
}

fn checked(
    file: &str,
    n: usize,
    table: FamilyTable,
    groups: &BTreeMap<String, Vec<String>>,
    mistakes: &mut Vec<String>,
) -> Family {
    let family = format!("{file}: family {n} (`{}`)", table.name);
    if table.name.trim().is_empty() {
        mistakes.push(format!("{family}, `name`: is empty"));
    }
    let every = table.classes.iter().any(|class| class == "*");
    if table.classes.is_empty() || table.classes.iter().any(|class| class.trim().is_empty()) {
        mistakes.push(format!("{family}, `classes`: name classes, or write [\"*\"] for all of them"));
    } else if every && table.classes.len() > 1 {
        mistakes.push(format!("{family}, `classes`: \"*\" is all classes already: take the others out"));
    }
    if table.template.is_empty() {
        mistakes.push(format!("{family}: has no `[[family.template]]`"));
    }
    let mut templates = Vec::with_capacity(table.template.len());
    for (template, n) in table.template.into_iter().zip(1..) {
        let place = format!("{family}, template {n}");
        for (key, value) in [("instruction", &template.instruction), ("caption", &template.caption)] {
            if let Err(mistake) = words::check(value) {
                mistakes.push(format!("{place}, `{key}`: {mistake}"));
            }
        }
        templates.push(Template {
            instruction_id: ids::instruction_id(&table.name, &template.instruction, &template.caption),
            instruction: template.instruction,
            caption: template.caption,
            place,
        });
    }
    let classes = table.classes.iter().flat_map(|class| {
        let class = class_key(class);
        groups.get(&class).map_or_else(|| vec![class], |classes| classes.iter().map(|class| class_key(class)).collect())
    });
    Family { name: table.name, classes: (!every).then(|| classes.collect()), templates }
}

/// How classes are compared.
pub(super) fn class_key(class: &str) -> String {
    class.trim().to_lowercase()
}
