//! Mistakes in a manifest, all of them together, for people (through `miette`) and for programs (as JSON).

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::{Value, json};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    pub(super) message: String,
    pub(super) key: String,
    pub(super) help: Option<String>,
    pub(super) span: Option<Range<usize>>,
    /// Line and column, from 1; the column counts characters.
    pub(super) position: Option<(usize, usize)>,
    /// A second place that belongs to it, with what to say there.
    pub(super) also: Option<(Range<usize>, String)>,
}

impl ManifestError {
    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The key, for example `stage[2].rules[0].min`; empty for the file as a whole.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The offending bytes; `None` when the file could not be read.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }

    /// The column, from 1, in characters.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.position.map(|(_, column)| column)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path of a key at the top is the key itself, which the message may name.
        if self.key.is_empty() || self.message.contains(&format!("`{}`", self.key)) {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.key, self.message)
        }
    }
}

impl std::error::Error for ManifestError {}

impl Diagnostic for ManifestError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        let here = LabeledSpan::new_primary_with_span(self.also.as_ref().map(|_| "here".to_owned()), span);
        let also = self.also.as_ref().map(|(span, text)| LabeledSpan::new_with_span(Some(text.clone()), span.clone()));
        Some(Box::new(std::iter::once(here).chain(also)))
    }
}

/// All mistakes of a manifest, in the order in which they stand in the file.
#[derive(Clone)]
pub struct ManifestErrors {
    path: PathBuf,
    source: NamedSource<String>,
    errors: Vec<ManifestError>,
}

impl ManifestErrors {
    pub(super) fn new(path: &Path, text: &str, mut errors: Vec<ManifestError>) -> Self {
        errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.start));
        errors.dedup();
        let source = NamedSource::new(path.display().to_string(), text.to_owned()).with_language("toml");
        Self { path: path.to_owned(), source, errors }
    }

    /// For a file that could not be read.
    pub(super) fn unreadable(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Self {
        let error = ManifestError {
            message: message.into(),
            key: String::new(),
            help: Some(help.into()),
            span: None,
            position: None,
            also: None,
        };
        Self::new(path, "", vec![error])
    }

    /// The manifest's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mistakes; never empty.
    #[must_use]
    pub fn errors(&self) -> &[ManifestError] {
        &self.errors
    }

    /// One line per mistake: `file:line:column: key: message (help)`.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for error in &self.errors {
            lines.push_str(&self.path.display().to_string());
            if let Some((line, column)) = error.position {
                lines.push_str(&format!(":{line}:{column}"));
            }
            lines.push_str(&format!(": {error}"));
            if let Some(help) = &error.help {
                lines.push_str(&format!(" ({help})"));
            }
            lines.push('\n');
        }
        lines
    }

    /// An array of `{file, line, column, key, message, help}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let file = self.path.display().to_string();
        self.errors
            .iter()
            .map(|error| {
                json!({
                    "file": file,
                    "line": error.line(),
                    "column": error.column(),
                    "key": error.key,
                    "message": error.message,
                    "help": error.help,
                })
            })
            .collect()
    }
}

impl Serialize for ManifestErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ManifestErrors", 1)?;
        object.serialize_field("errors", &self.to_json())?;
        object.end()
    }
}

impl fmt::Debug for ManifestErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ManifestErrors").field("path", &self.path).field("errors", &self.errors).finish()
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.len() {
            1 => write!(formatter, "{} has a mistake", self.path.display()),
            n => write!(formatter, "{} has {n} mistakes", self.path.display()),
        }
    }
}

impl std::error::Error for ManifestErrors {}

impl Diagnostic for ManifestErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|error| error as &dyn Diagnostic)))
    }
}
