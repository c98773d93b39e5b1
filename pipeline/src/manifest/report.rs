//! Collects mistakes while a manifest is checked, and knows where in the text they stand.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::error::{ManifestError, ManifestErrors};
use super::pointer::{Place, SpanMap, child};

/// The byte offsets at which the lines of a text start.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    /// Line and column of a byte, from 1; the column counts characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = floor(self.text, offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        // The byte-order mark is in the text, but no editor shows it.
        let before = self.text.get(start..offset).unwrap_or_default().trim_start_matches('\u{feff}');
        (line, before.chars().count() + 1)
    }
}

/// The nearest character boundary at or before `offset`, inside the text.
fn floor(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// Where an error of some pointer is shown.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// At the key; at the value where there is no key (an element of an array).
    Key,
    /// At the value.
    Value,
}

/// The mistakes found so far.
pub(super) struct Report<'a> {
    lines: Lines<'a>,
    pub(super) errors: Vec<ManifestError>,
    /// Parts of the text that must not be shown, since they are secrets.
    secrets: Vec<Range<usize>>,
    /// Keys that are missing: pointer of the table, key, help. Said at the end, unless they are only misspelled.
    missing: Vec<(String, String, Option<String>)>,
    /// Keys that were suggested for unknown ones.
    suggested: BTreeSet<(String, String)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            lines: Lines::new(text),
            errors: Vec::new(),
            secrets: Vec::new(),
            missing: Vec::new(),
            suggested: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, spans: &SpanMap, pointer: &str, at: At, message: String, help: Option<String>) {
        let error = self.error(spans, pointer, at, message, help);
        self.errors.push(error);
    }

    pub(super) fn add_span(&mut self, key: String, span: Range<usize>, message: String, help: Option<String>) {
        let error = self.error_at(key, span, message, help);
        self.errors.push(error);
    }

    /// A mistake at the place of `pointer`, or at the nearest place around it.
    pub(super) fn error(
        &self,
        spans: &SpanMap,
        pointer: &str,
        at: At,
        message: String,
        help: Option<String>,
    ) -> ManifestError {
        let span = spans.nearest(pointer).map_or(0..0, |place| choose(spans, pointer, at, place));
        self.error_at(spans.key_path(pointer), span, message, help)
    }

    fn error_at(&self, key: String, span: Range<usize>, message: String, help: Option<String>) -> ManifestError {
        let text = self.lines.text;
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let position = Some(self.lines.position(start));
        // An empty text has no place to point at.
        let span = if text.is_empty() { None } else { Some(start..end) };
        ManifestError { message, key, help, span, position, also: None }
    }

    /// Adds a second place to the newest mistake.
    pub(super) fn also(&mut self, spans: &SpanMap, pointer: &str, text: &str) {
        if let (Some(error), Some(place)) = (self.errors.last_mut(), spans.nearest(pointer)) {
            error.also = Some((place.value.clone(), text.to_owned()));
        }
    }

    pub(super) fn missing(&mut self, table: String, key: &str, help: Option<String>) {
        self.missing.push((table, key.to_owned(), help));
    }

    pub(super) fn suggested(&mut self, table: &str, key: &str) {
        self.suggested.insert((table.to_owned(), key.to_owned()));
    }

    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.position(offset).0
    }

    /// The part of the manifest's text at `span`.
    pub(super) fn text(&self, span: Range<usize>) -> &'a str {
        self.lines.text.get(span).unwrap_or_default()
    }

    /// Says what is missing.
    pub(super) fn settle(&mut self, spans: &SpanMap) {
        let suggested = std::mem::take(&mut self.suggested);
        for (table, key, help) in std::mem::take(&mut self.missing) {
            if !suggested.contains(&(table.clone(), key.clone())) {
                self.add(spans, &child(&table, &key), At::Value, format!("missing key `{key}`"), help);
            }
        }
    }

    pub(super) fn finish(self, path: &Path) -> ManifestErrors {
        let mut text = self.lines.text.to_owned();
        for secret in self.secrets {
            if let Some(part) = text.get(secret.clone()) {
                let stars: String = part.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect();
                text.replace_range(secret, &stars);
            }
        }
        ManifestErrors::new(path, &text, self.errors)
    }
}

fn choose(spans: &SpanMap, pointer: &str, at: At, nearest: &Place) -> Range<usize> {
    let exact = spans.get(pointer).is_some();
    match at {
        At::Key if exact => nearest.key.clone().unwrap_or_else(|| nearest.value.clone()),
        _ => nearest.value.clone(),
    }
}
