//! What is said of a picture, and the sidecar files in which it stands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use cafe_pipeline::stage::WorkError;
use polars::prelude::*;
use serde_json::Value;

use super::wrong;

/// What is said of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) class: Option<String>,
    pub(crate) caption: Option<String>,
    pub(crate) subject_id: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) source: Option<String>,
}

impl Labels {
    /// Sets the label called `name`, under any of the names in use. An unknown name is passed over: a sidecar may say
    /// more than is asked.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let field = match name {
            "class" | "label" | "cls" => &mut self.class,
            "caption" | "text" => &mut self.caption,
            "subject_id" | "subject" => &mut self.subject_id,
            "licence" | "license" => &mut self.licence,
            "source" | "url" => &mut self.source,
            _ => return,
        };
        let value = value.trim();
        if field.is_none() && !value.is_empty() {
            *field = Some(value.to_owned());
        }
    }

    /// Takes the fields of a JSON object.
    pub(crate) fn set_json(&mut self, object: &serde_json::Map<String, Value>) {
        for (name, value) in object {
            match value {
                Value::String(text) => self.set(name, text),
                Value::Number(number) => self.set(name, &number.to_string()),
                _ => {}
            }
        }
    }
}

/// Labels by file name.
pub(super) type Sidecar = BTreeMap<String, Labels>;

/// Reads `metadata.csv` or `metadata.jsonl`, told apart by the ending.
pub(super) fn read(path: &Path) -> Result<Sidecar, WorkError> {
    let file = File::open(path).map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => read_csv(path, file),
        Some("jsonl") => read_jsonl(path, file),
        _ => Err(wrong(format!("{}: metadata ends in .csv or .jsonl", path.display()))),
    }
}

fn read_csv(path: &Path, file: File) -> Result<Sidecar, WorkError> {
    let bad = |message: String| wrong(format!("{}: {message}", path.display()));
    let options = CsvReadOptions::default().with_infer_schema_length(Some(0)).with_has_header(true);
    let rows = options.into_reader_with_file_handle(file).finish().map_err(|error| bad(error.to_string()))?;
    let column = |name: &str| rows.column(name).ok().and_then(|column| column.str().ok());
    let names = column("file_name").ok_or_else(|| {
        let found: Vec<&str> = rows.get_column_names().iter().map(|name| name.as_str()).collect();
        bad(format!("there is no column `file_name`, only {}", found.join(", ")))
    })?;
    let mut sidecar = Sidecar::new();
    for row in 0..rows.height() {
        let mut labels = Labels::default();
        for name in rows.get_column_names() {
            labels.set(name, column(name).and_then(|column| column.get(row)).unwrap_or_default());
        }
        let name = names.get(row).unwrap_or_default();
        insert(&mut sidecar, name, labels).map_err(|message| bad(format!("row {}: {message}", row + 1)))?;
    }
    Ok(sidecar)
}

fn read_jsonl(path: &Path, file: File) -> Result<Sidecar, WorkError> {
    let mut sidecar = Sidecar::new();
    for (line, text) in (1_u64..).zip(BufReader::new(file).lines()) {
        let at = |message: String| wrong(format!("{}, line {line}: {message}", path.display()));
        let text = text.map_err(|error| at(error.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&text).map_err(|error| at(error.to_string()))?;
        let object = value.as_object().ok_or_else(|| at("a JSON object was expected".to_owned()))?;
        let name = object.get("file_name").and_then(Value::as_str);
        let name = name.ok_or_else(|| at("there is no text `file_name`".to_owned()))?;
        let mut labels = Labels::default();
        labels.set_json(object);
        insert(&mut sidecar, name, labels).map_err(at)?;
    }
    Ok(sidecar)
}

fn insert(sidecar: &mut Sidecar, name: &str, labels: Labels) -> Result<(), String> {
    let name = name.trim().trim_start_matches("./");
    if name.is_empty() {
        return Err("`file_name` is empty".to_owned());
    }
    match sidecar.insert(name.to_owned(), labels) {
        Some(_) => Err(format!("`{name}` is named a second time")),
        None => Ok(()),
    }
}
