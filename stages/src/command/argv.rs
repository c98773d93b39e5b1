//! Placeholders in `argv`, the environment of a program, and the hiding of secrets in what it says.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::Path;

/// Names that may stand between braces.
pub(super) const PLACEHOLDERS: [&str; 8] =
    ["input", "output", "seed", "stage", "shard", "scratch", "cafe_data", "model_family"];

/// Variables that every program gets when we have them ourselves.
const BASE: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A value shorter than this is no secret, and would be found everywhere.
const SECRET_MIN_CHARS: usize = 6;

/// One argument, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(&'static str),
}

impl Argument {
    /// Parses `text`; an error says what is wrong with its braces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                let known = PLACEHOLDERS.into_iter().find(|known| *known == name);
                let known = known.ok_or_else(|| format!("unknown placeholder `{{{name}}}`"))?;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Placeholder(known));
                rest = after;
            } else {
                return Err(format!("a brace without its partner in `{text}`"));
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The placeholders in it.
    pub(super) fn placeholders(&self) -> BTreeSet<&'static str> {
        self.0.iter().filter_map(|part| if let Part::Placeholder(name) = part { Some(*name) } else { None }).collect()
    }

    /// The argument with its placeholders filled in.
    pub(super) fn render(&self, value: impl Fn(&str) -> String) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Placeholder(name) => value(name),
            })
            .collect()
    }
}

/// The environment of a program: nothing of ours but what is named, and what the contract promises.
pub(super) fn environment(declared: &[String], scratch: &Path, stage: &str, seed: u64) -> Vec<(OsString, OsString)> {
    let passed = BASE.into_iter().chain(declared.iter().map(String::as_str));
    let mut variables: Vec<(OsString, OsString)> =
        passed.filter_map(|name| env::var_os(name).map(|value| (name.into(), value))).collect();
    variables.push(("TMPDIR".into(), scratch.into()));
    variables.push(("CAFE_PROTOCOL".into(), super::serve::PROTOCOL.to_string().into()));
    variables.push(("CAFE_STAGE".into(), stage.into()));
    variables.push(("CAFE_SEED".into(), seed.to_string().into()));
    variables
}

/// Takes the values of declared variables out of what a program says, before it reaches a log or the catalog.
#[derive(Clone, Default)]
pub(super) struct Redactor(Vec<(String, String)>);

impl Redactor {
    /// Hides the values that the variables `declared` have now.
    pub(super) fn new(declared: &[String]) -> Self {
        let value = |name: &String| Some((env::var(name).ok()?, format!("[{name}]")));
        let mut secrets: Vec<(String, String)> = declared.iter().filter_map(value).collect();
        secrets.retain(|(value, _)| value.chars().count() >= SECRET_MIN_CHARS);
        // A secret that contains another must go first.
        secrets.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self(secrets)
    }

    /// `text` without them.
    pub(super) fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Result<String, String> {
        Argument::parse(text).map(|argument| argument.render(|name| format!("<{name}>")))
    }

    #[test]
    fn placeholders_are_filled_in_and_braces_escaped() {
        assert_eq!(render("--in={input}:{seed}"), Ok("--in=<input>:<seed>".to_owned()));
        assert_eq!(render(r#"{{"a": {seed}}}"#), Ok(r#"{"a": <seed>}"#.to_owned()));
        assert_eq!(render(""), Ok(String::new()));
    }

    #[test]
    fn wrong_braces_are_named() {
        assert_eq!(render("{inptu}"), Err("unknown placeholder `{inptu}`".to_owned()));
        assert_eq!(render("a}b"), Err("a brace without its partner in `a}b`".to_owned()));
        assert_eq!(render("{input"), Err("a brace without its partner in `{input`".to_owned()));
    }

    #[test]
    fn values_of_declared_variables_are_hidden() {
        // HOME is set wherever tests run; its value stands for a secret.
        let home = env::var("HOME").unwrap();
        let redactor = Redactor(vec![(home.clone(), "[HOME]".to_owned())]);
        assert_eq!(redactor.clean(&format!("token {home}/x")), "token [HOME]/x");
    }
}
