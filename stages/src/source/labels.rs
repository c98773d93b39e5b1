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

/// A row of a sidecar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The file and the place in it, for messages.
    pub(crate) place: String,
    fields: Vec<(String, String)>,
}

impl Record {
    /// The field called `name`; it may be empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// What it says of a picture.
    pub(crate) fn labels(&self) -> Labels {
        let mut labels = Labels::default();
        for (name, value) in &self.fields {
            labels.set(name, value);
        }
        labels
    }
}

/// Reads a CSV or JSON-lines file, told apart by the ending. Every row has the fields `needed`.
pub(crate) fn records(path: &Path, needed: &[&str]) -> Result<Vec<Record>, WorkError> {
    let file = File::open(path).map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => read_csv(path, file, needed),
        Some("jsonl") => read_jsonl(path, file, needed),
        _ => Err(wrong(format!("{}: metadata ends in .csv or .jsonl", path.display()))),
    }
}

/// Reads `metadata.csv` or `metadata.jsonl`.
pub(super) fn read(path: &Path) -> Result<Sidecar, WorkError> {
    let mut sidecar = Sidecar::new();
    for record in records(path, &["file_name"])? {
        let name = record.get("file_name").unwrap_or_default();
        insert(&mut sidecar, name, record.labels()).map_err(|message| wrong(format!("{}: {message}", record.place)))?;
    }
    Ok(sidecar)
}

fn read_csv(path: &Path, file: File, needed: &[&str]) -> Result<Vec<Record>, WorkError> {
    let bad = |message: String| wrong(format!("{}: {message}", path.display()));
    let options = CsvReadOptions::default().with_infer_schema_length(Some(0)).with_has_header(true);
    let rows = options.into_reader_with_file_handle(file).finish().map_err(|error| bad(error.to_string()))?;
    let names: Vec<&str> = rows.get_column_names().iter().map(|name| name.as_str()).collect();
    if let Some(missing) = needed.iter().find(|name| !names.contains(name)) {
        return Err(bad(format!("there is no column `{missing}`, only {}", names.join(", "))));
    }
    let columns: Result<Vec<&StringChunked>, PolarsError> = rows.columns().iter().map(|column| column.str()).collect();
    let columns = columns.map_err(|error| bad(error.to_string()))?;
    let record = |row: usize| {
        let value = |column: &&StringChunked| column.get(row).unwrap_or_default().to_owned();
        let fields = names.iter().zip(&columns).map(|(name, column)| ((*name).to_owned(), value(column))).collect();
        Record { place: format!("{}: row {}", path.display(), row + 1), fields }
    };
    Ok((0..rows.height()).map(record).collect())
}

fn read_jsonl(path: &Path, file: File, needed: &[&str]) -> Result<Vec<Record>, WorkError> {
    let mut records = Vec::new();
    for (line, text) in (1_u64..).zip(BufReader::new(file).lines()) {
        let place = format!("{}, line {line}", path.display());
        let at = |message: String| wrong(format!("{place}: {message}"));
        let text = text.map_err(|error| at(error.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&text).map_err(|error| at(error.to_string()))?;
        let object = value.as_object().ok_or_else(|| at("a JSON object was expected".to_owned()))?;
        if let Some(missing) = needed.iter().find(|name| object.get(**name).and_then(Value::as_str).is_none()) {
            return Err(at(format!("there is no text `{missing}`")));
        }
        let fields = object.iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name.clone(), text.clone())),
            Value::Number(number) => Some((name.clone(), number.to_string())),
            _ => None,
        });
        let fields = fields.collect();
        records.push(Record { place, fields });
    }
    Ok(records)
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
