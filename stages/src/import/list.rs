//! Where pairs stand: one row for each, with all that is said of it.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cafe_pipeline::frame;
use cafe_pipeline::stage::{Lister, WorkContext, WorkError, id_text};
use polars::prelude::*;

use super::config::{ImportConfig, ImportSource, Layout, PairColumns, metadata_of};
use crate::source::{is_image, records, wrong};

/// The texts of a listing, each a column of its own.
pub(super) const TEXTS: [&str; 7] =
    ["instruction", "caption", "reference_caption", "class", "subject_id", "licence", "source"];

/// A pair that was found.
#[derive(Default)]
struct Listed {
    key: String,
    reference_file: String,
    target_file: String,
    /// Row (Parquet).
    offset: u64,
    /// Sizes of the files, so that another file under the same name is another row.
    reference_file_bytes: Option<u64>,
    target_file_bytes: Option<u64>,
    texts: [Option<String>; TEXTS.len()],
    fault: Option<String>,
}

impl Listed {
    fn set(&mut self, field: &str, value: &str) {
        let value = value.trim();
        if let Some((_, text)) = TEXTS.iter().zip(&mut self.texts).find(|(name, _)| **name == field)
            && !value.is_empty()
        {
            *text = Some(value.to_owned());
        }
    }
}

/// Lists the source.
pub(super) struct Pairs {
    pub(super) base: PathBuf,
    pub(super) config: Arc<ImportConfig>,
}

impl Lister for Pairs {
    fn list(&self, context: &WorkContext) -> Result<DataFrame, WorkError> {
        let listed = match &self.config.source {
            ImportSource::Folder { path, metadata } => {
                let metadata = metadata.as_ref().map(|path| self.base.join(path));
                folder(&self.base.join(path), metadata.as_deref(), self.config.layout)?
            }
            ImportSource::Parquet { files, columns } => {
                let mut listed = Vec::new();
                for file in files {
                    context.cancel.check()?;
                    parquet(&self.base, file, columns, self.config.layout, &mut listed)?;
                }
                listed
            }
        };
        if listed.is_empty() {
            return Err(wrong("the source holds no pair".to_owned()));
        }
        table(&listed)
    }
}

fn folder(root: &Path, metadata: Option<&Path>, layout: Layout) -> Result<Vec<Listed>, WorkError> {
    let path = metadata_of(root, metadata).ok_or_else(|| wrong(format!("{} has no table of pairs", root.display())))?;
    let (needed, target): (&[&str], &str) = match layout {
        Layout::Separate => (&["reference", "target"], "target"),
        Layout::SideBySide => (&["reference"], "reference"),
    };
    let listed = (1_u64..).zip(records(&path, needed)?).map(|(row, record)| {
        let name = |field: &str| record.get(field).unwrap_or_default().trim().trim_start_matches("./").to_owned();
        let labels = record.labels();
        let mut pair = Listed {
            // The row, because one file may stand in many of them.
            key: format!("{}:{}:{row}", name("reference"), name(target)),
            reference_file: name("reference"),
            target_file: name(target),
            ..Listed::default()
        };
        for field in ["instruction", "reference_caption"] {
            pair.set(field, record.get(field).unwrap_or_default());
        }
        for (field, value) in [
            ("caption", labels.caption),
            ("class", labels.class),
            ("subject_id", labels.subject_id),
            ("licence", labels.licence),
            ("source", labels.source),
        ] {
            pair.set(field, value.as_deref().unwrap_or_default());
        }
        let sizes = size(root, &pair.reference_file).and_then(|one| Ok((one, size(root, &pair.target_file)?)));
        match sizes {
            Ok((reference, target)) => {
                (pair.reference_file_bytes, pair.target_file_bytes) = (Some(reference), Some(target));
            }
            Err(message) => pair.fault = Some(format!("{}: {message}", place(&record.place))),
        }
        pair
    });
    Ok(listed.collect())
}

/// A place within its file, without the folders: listings do not depend on where the project lies.
fn place(place: &str) -> &str {
    place.rsplit_once('/').map_or(place, |(_, name)| name)
}

/// The size of a file that a table names. Tables come from outside: none may name a file outside of its folder.
fn size(root: &Path, name: &str) -> Result<u64, String> {
    if name.is_empty() {
        return Err("a file name is empty".to_owned());
    }
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(name).components().all(is_inside) {
        return Err(format!("`{name}` leads out of the folder"));
    }
    match std::fs::metadata(root.join(name)) {
        Ok(found) if found.is_file() => Ok(found.len()),
        Ok(_) => Err(format!("`{name}` is not a file")),
        Err(error) => Err(format!("`{name}` cannot be read: {error}")),
    }
}

fn parquet(
    base: &Path,
    path: &Path,
    columns: &PairColumns,
    layout: Layout,
    listed: &mut Vec<Listed>,
) -> Result<(), WorkError> {
    let at = |message: String| wrong(format!("{}: {message}", path.display()));
    let open = || File::open(base.join(path)).map_err(|error| at(error.to_string()));
    let name = path.to_str().ok_or_else(|| at("the name is not UTF-8: rename the file".to_owned()))?;
    let file_bytes = open()?.metadata().map_err(|error| at(error.to_string()))?.len();
    let schema = frame::columns(open()?).map_err(|error| at(format!("is not a Parquet file: {error}")))?;
    check_columns(&schema, columns, layout).map_err(at)?;
    let n_rows = frame::n_rows(open()?).map_err(|error| at(error.to_string()))?;
    let texts = columns.texts();
    let mut tops: Vec<String> = texts.iter().map(|(_, column)| top(&schema, column).to_owned()).collect();
    tops.sort();
    tops.dedup();
    let rows = frame::read(open()?, Some(&tops)).map_err(|error| at(error.to_string()))?;
    let values: PolarsResult<Vec<(&str, Series)>> =
        texts.iter().map(|(field, column)| Ok((*field, value(&rows, column)?))).collect();
    let values = values.map_err(|error| at(error.to_string()))?;
    for row in 0..n_rows {
        let mut pair = Listed {
            key: format!("{name}:{row}"),
            reference_file: name.to_owned(),
            target_file: name.to_owned(),
            offset: row,
            reference_file_bytes: Some(file_bytes),
            target_file_bytes: Some(file_bytes),
            ..Listed::default()
        };
        for (field, values) in &values {
            let value = values.get(usize::try_from(row).unwrap_or(usize::MAX));
            let value = value.map_err(|error| at(error.to_string()))?;
            if !value.is_null() {
                pair.set(field, &id_text(&value));
            }
        }
        listed.push(pair);
    }
    Ok(())
}

fn check_columns(schema: &Schema, columns: &PairColumns, layout: Layout) -> Result<(), String> {
    let names = || schema.iter_names().map(PlSmallStr::as_str).collect::<Vec<_>>().join(", ");
    let mut pictures = vec![("reference", columns.reference(layout))];
    if layout == Layout::Separate {
        pictures.push(("target", columns.target()));
    }
    for (key, column) in pictures {
        match schema.get(&column) {
            None => return Err(format!("there is no column `{column}`, columns.{key}: it has {}", names())),
            Some(dtype) if !is_image(dtype) => {
                return Err(format!("column `{column}` is {dtype}, a struct with `bytes` or binary was expected"));
            }
            Some(_) => {}
        }
    }
    for (field, column) in columns.texts() {
        let dtype = dtype_of(schema, column)
            .ok_or_else(|| format!("there is no column `{column}`, columns.{field}: it has {}", names()))?;
        if dtype.is_nested() || dtype.is_binary() {
            return Err(format!("column `{column}`, columns.{field}, is {dtype}, a text or a number was expected"));
        }
    }
    Ok(())
}

/// The column of the file that `path` leads into: all of it where there is such a column, else its part up to a dot.
fn top<'a>(schema: &Schema, path: &'a str) -> &'a str {
    if schema.contains(path) { path } else { path.split_once('.').map_or(path, |(top, _)| top) }
}

fn dtype_of<'a>(schema: &'a Schema, path: &str) -> Option<&'a DataType> {
    let top = top(schema, path);
    let inner = path.get(top.len()..)?.strip_prefix('.');
    let mut dtype = schema.get(top)?;
    for name in inner.into_iter().flat_map(|inner| inner.split('.')) {
        let DataType::Struct(fields) = dtype else { return None };
        dtype = &fields.iter().find(|field| field.name == name)?.dtype;
    }
    Some(dtype)
}

fn value(rows: &DataFrame, path: &str) -> PolarsResult<Series> {
    let top = top(rows.schema(), path);
    let mut series = rows.column(top)?.as_materialized_series().clone();
    let inner = path.get(top.len()..).and_then(|rest| rest.strip_prefix('.'));
    for name in inner.into_iter().flat_map(|inner| inner.split('.')) {
        series = series.struct_()?.field_by_name(name)?;
    }
    Ok(series)
}

fn table(listed: &[Listed]) -> Result<DataFrame, WorkError> {
    let text = |name: &str, value: fn(&Listed) -> Option<&str>| {
        Column::new(name.into(), listed.iter().map(value).collect::<Vec<Option<&str>>>())
    };
    let number = |name: &str, value: fn(&Listed) -> Option<u64>| {
        Column::new(name.into(), listed.iter().map(value).collect::<Vec<Option<u64>>>())
    };
    let mut columns = vec![
        text("key", |pair| Some(&pair.key)),
        text("reference_file", |pair| Some(&pair.reference_file)),
        text("target_file", |pair| Some(&pair.target_file)),
        Column::new("offset".into(), listed.iter().map(|pair| pair.offset).collect::<Vec<u64>>()),
        number("reference_file_bytes", |pair| pair.reference_file_bytes),
        number("target_file_bytes", |pair| pair.target_file_bytes),
        text("fault", |pair| pair.fault.as_deref()),
    ];
    for (at, name) in TEXTS.iter().enumerate() {
        let values: Vec<Option<&str>> =
            listed.iter().map(|pair| pair.texts.get(at).and_then(Option::as_deref)).collect();
        columns.push(Column::new((*name).into(), values));
    }
    Ok(DataFrame::new(listed.len(), columns)?)
}
