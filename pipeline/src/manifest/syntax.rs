//! Mistakes in the TOML itself, in friendlier words than the parser's.

use std::collections::BTreeSet;

use toml::de::Error;

use super::report::Report;

/// More than this tells nothing new: it is then no TOML.
const MAX_FAULTS: usize = 50;

/// Reports what the parser found, the first of each line: the others are its aftermath.
pub(super) fn explain(faults: &[Error], text: &str, report: &mut Report<'_>) {
    let mut lines = BTreeSet::new();
    let mut table_again: Option<usize> = None;
    for fault in faults {
        let span = fault.span().unwrap_or(text.len()..text.len());
        let line = report.line(span.start);
        if lines.len() >= MAX_FAULTS || !lines.insert(line) {
            continue;
        }
        let around = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let repeated = fault.message().starts_with("duplicate key");
        // A table that stands twice has keys that stand twice: they are no news.
        let since = table_again.map_or(0..0, |from| from..span.start);
        if repeated && text.get(since.clone()).is_some_and(|between| !since.is_empty() && !between.contains("\n[")) {
            continue;
        }
        table_again = if repeated && around.trim_start().starts_with('[') { Some(span.start) } else { None };
        let word = text.get(span.clone()).unwrap_or_default();
        let (message, help) = words(fault.message(), word, around, text);
        let other_format = message.starts_with("this looks like");
        report.add_span(String::new(), span, message, help);
        if other_format {
            return;
        }
    }
}

/// Message and help; the parser's own message where there is no better one.
fn words(said: &str, word: &str, line: &str, text: &str) -> (String, Option<String>) {
    let starts = |start: &str| said.starts_with(start);
    let say = |message: &str, help: &str| (message.to_owned(), Some(help.to_owned()));
    let header = line.trim_start().starts_with('[');
    if text.trim_start_matches(['\u{feff}', '\r', '\n', ' ']).starts_with('{') {
        say("this looks like JSON", "a manifest is TOML: its first line is `version = 1`")
    } else if starts("key with no value") && line.contains(':') && !line.contains('=') {
        say("this looks like YAML", "a manifest is TOML: write `key = value`, and `[[stage]]` above each stage")
    } else if starts("duplicate key") {
        let word = if header { line.trim().to_owned() } else { word.to_owned() };
        (format!("`{word}` stands twice"), Some("write it once, with everything that belongs to it".to_owned()))
    } else if starts("string values must be quoted") && word.trim().is_empty() {
        say("there is no value after `=`", "write `key = value`, or take the line out")
    } else if starts("string values must be quoted") {
        (format!("`{word}` is not a value"), Some(format!("write \"{word}\", in quotes, if it is text")))
    } else if starts("key with no value") || starts("missing value for key") {
        say("a key without a value", "write `key = value`")
    } else if starts("extra `=`") {
        say("one `=` too many", "write `key = value`")
    } else if starts("invalid basic string, expected `\"`") || starts("invalid literal string, expected `'`") {
        say("the text in quotes does not end in this line", "close it with the quote that it starts with")
    } else if starts("missing escaped value") || starts("invalid escape") {
        let help = "write `\\\\` for a backslash, or put the text into single quotes";
        say("a backslash that stands for nothing", help)
    } else if header && (starts("unclosed") || starts("unexpected")) {
        say("this is no table header", "write `[storage]` for a table, `[[stage]]` for a stage")
    } else if starts("unclosed array") {
        say("the list is not closed", "close it with `]`")
    } else if starts("unclosed inline table") {
        say("the table is not closed", "close it with `}`")
    } else if starts("missing comma") {
        say("a comma is missing", "separate entries by `,`")
    } else if said.contains("recurs") {
        say("nested too deeply", "nothing in a manifest needs more than a few levels")
    } else if starts("cannot extend value of type") {
        let help = "a key has either a value or keys below it; a list of tables is written `[[…]]` each time";
        (format!("not TOML: {said}"), Some(help.to_owned()))
    } else {
        (format!("not TOML: {}", said.trim_end_matches(", expected nothing")), None)
    }
}
