//! Template files: families of instructions, each for some classes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::ids;

/// Stands for the class of the reference.
const CLASS: &str = "{class}";
/// In `classes`: any.
const ANY: &str = "*";

/// A template file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFile {
    /// Name → classes, to be named in `classes` of families.
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    family: Vec<FamilyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyTable {
    name: String,
    classes: Vec<String>,
    #[serde(default)]
    template: Vec<TemplateTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateTable {
    instruction: String,
    caption: String,
}

/// A family.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) name: String,
    /// `None`: any class.
    classes: Option<BTreeSet<String>>,
    pub(super) templates: Vec<Template>,
}

/// An instruction and its caption, with places for the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) instruction_id: String,
    instruction: String,
    caption: String,
}

/// All families, in the order of their files.
#[derive(Clone, Debug, Default)]
pub(super) struct Templates {
    pub(super) families: Vec<Family>,
}

impl Family {
    pub(super) fn suits(&self, class: &str) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.contains(class))
    }
}

impl Template {
    /// The instruction and the caption for a class.
    pub(super) fn fill(&self, class: &str) -> (String, String) {
        (fill(&self.instruction, class), fill(&self.caption, class))
    }
}

/// Puts the class in, with the article that fits it.
fn fill(text: &str, class: &str) -> String {
    let is_vowel = class.chars().next().is_some_and(|first| "aeiouAEIOU".contains(first));
    let text = if is_vowel {
        let text = text.replace("A {class}", "An {class}");
        match text.strip_prefix("a {class}") {
            Some(rest) => format!("an {{class}}{rest}"),
            None => text,
        }
        .replace(" a {class}", " an {class}")
    } else {
        text.to_owned()
    };
    text.replace(CLASS, class)
}

impl Templates {
    /// Adds a file; gives what is wrong with it.
    pub(super) fn add(&mut self, path: &str, text: &str) -> Vec<String> {
        let file: TemplateFile = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
                let line = line.map_or_else(String::new, |line| format!(", line {line}"));
                return vec![format!("{path}{line}: {}", error.message())];
            }
        };
        let mut issues = Vec::new();
        if file.family.is_empty() {
            issues.push(format!("{path}: there is no [[family]]"));
        }
        for family in file.family {
            self.add_family(path, &file.groups, family, &mut issues);
        }
        issues
    }

    fn add_family(
        &mut self,
        path: &str,
        groups: &BTreeMap<String, Vec<String>>,
        table: FamilyTable,
        issues: &mut Vec<String>,
    ) {
        let name = table.name.trim().to_owned();
        let mut wrong = |message: String| issues.push(format!("{path}: family `{name}`: {message}"));
        if name.is_empty() {
            wrong("the name is empty".to_owned());
        }
        if self.families.iter().any(|family| family.name == name) {
            wrong("there is another family of that name".to_owned());
        }
        if table.classes.is_empty() {
            wrong(format!("`classes` is empty: write [\"{ANY}\"] for any"));
        }
        if table.template.is_empty() {
            wrong("there is no [[family.template]]".to_owned());
        }
        let is_any = table.classes.iter().any(|class| class == ANY);
        let members = |class: &String| groups.get(class).cloned().unwrap_or_else(|| vec![class.clone()]);
        let classes: BTreeSet<String> = table.classes.iter().flat_map(members).collect();
        let mut templates: Vec<Template> = Vec::new();
        for (index, template) in table.template.into_iter().enumerate() {
            for (key, text) in [("instruction", &template.instruction), ("caption", &template.caption)] {
                if let Some(message) = fault(text) {
                    wrong(format!("template {}: {key}: {message}", index + 1));
                }
            }
            let instruction_id = ids::instruction_id(&name, &template.instruction, &template.caption);
            if templates.iter().any(|other| other.instruction_id == instruction_id) {
                wrong(format!("template {}: stands there twice", index + 1));
            }
            let TemplateTable { instruction, caption } = template;
            templates.push(Template { instruction_id, instruction, caption });
        }
        self.families.push(Family { name, classes: (!is_any).then_some(classes), templates });
    }

    /// The templates of the families that suit a class.
    pub(super) fn for_class<'a>(&'a self, class: &'a str) -> impl Iterator<Item = (&'a Family, &'a Template)> {
        let families = self.families.iter().filter(move |family| family.suits(class));
        families.flat_map(|family| family.templates.iter().map(move |template| (family, template)))
    }

    /// Prompts that stand here and in `other` as well, but for case, spaces and punctuation.
    pub(super) fn overlap(&self, other: &Self) -> Vec<String> {
        let texts = |templates: &Self| -> BTreeMap<String, String> {
            let all = templates.families.iter().flat_map(|family| &family.templates);
            all.flat_map(|template| [&template.instruction, &template.caption])
                .map(|text| (normalized(text), text.clone()))
                .collect()
        };
        let held_out = texts(other);
        let shared = texts(self).into_iter().filter(|(text, _)| held_out.contains_key(text));
        shared.map(|(_, text)| format!("`{text}` is held out, and stands among the templates to draw from")).collect()
    }
}

/// What is wrong with a text.
fn fault(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("is empty".to_owned());
    }
    let rest = text.replace(CLASS, "");
    if rest.len() == text.len() {
        return Some(format!("has no {CLASS}: `{text}`"));
    }
    rest.contains(['{', '}']).then(|| format!("has braces other than {CLASS}: `{text}`"))
}

fn normalized(text: &str) -> String {
    let kept: String = text.chars().map(|sign| if sign.is_alphanumeric() { sign } else { ' ' }).collect();
    kept.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
