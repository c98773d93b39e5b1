//! All templates of a stage, and those that suit a class.

use std::collections::{BTreeSet, HashMap};

use super::template::{Family, Template, class_key};
use super::words;

/// The templates that may be drawn.
#[derive(Clone, Debug)]
pub(super) struct Book {
    families: Vec<Family>,
}

/// A family's name, and the templates of it that suit a class.
pub(super) type Suited<'a> = (&'a str, Vec<&'a Template>);

impl Book {
    /// Refuses a prompt that stands twice: draws without replacement would return it twice.
    pub(super) fn new(families: Vec<Family>) -> Result<Self, Vec<String>> {
        let mut places: HashMap<String, &str> = HashMap::new();
        let mut mistakes = Vec::new();
        for template in families.iter().flat_map(|family| &family.templates) {
            if let Some(before) = places.insert(words::normalised(&template.instruction), &template.place) {
                mistakes.push(format!("{}, `instruction`: stands in {before} already", template.place));
            }
        }
        if mistakes.is_empty() { Ok(Self { families }) } else { Err(mistakes) }
    }

    /// The prompts of `held_out` that may be drawn too.
    pub(super) fn overlaps(&self, held_out: &[Family]) -> Vec<String> {
        let mut drawn: HashMap<String, &str> = HashMap::new();
        for template in self.families.iter().flat_map(|family| &family.templates) {
            for text in [&template.instruction, &template.caption] {
                drawn.insert(words::normalised(text), &template.place);
            }
        }
        let mut mistakes = Vec::new();
        for template in held_out.iter().flat_map(|family| &family.templates) {
            for (key, text) in [("instruction", &template.instruction), ("caption", &template.caption)] {
                if let Some(place) = drawn.get(&words::normalised(text)) {
                    mistakes.push(format!("{}, `{key}`: is held out, but {place} would draw it", template.place));
                }
            }
        }
        mistakes
    }

    /// The families that suit `class`, in the order in which they stand; those of one name are one.
    pub(super) fn suited(&self, class: &str) -> Vec<Suited<'_>> {
        let class = class_key(class);
        let mut suited: Vec<Suited<'_>> = Vec::new();
        for family in &self.families {
            if family.classes.as_ref().is_some_and(|classes| !classes.contains(&class)) {
                continue;
            }
            match suited.iter_mut().find(|(name, _)| *name == family.name) {
                Some((_, templates)) => templates.extend(&family.templates),
                None => suited.push((&family.name, family.templates.iter().collect())),
            }
        }
        suited
    }

    /// Every class that some family names, and one that none names.
    pub(super) fn classes(&self) -> BTreeSet<String> {
        let named = self.families.iter().flat_map(|family| family.classes.iter().flatten()).cloned();
        named.chain([String::new()]).collect()
    }
}
