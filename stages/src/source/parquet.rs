//! Pictures in Parquet files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::frame;
use cafe_pipeline::stage::{ErrorClass, WorkError};
use polars::prelude::*;

use super::labels::Labels;
use super::{Found, LabelColumns, check, wrong};
use crate::picture::{Fault, Limits, check_size};

/// The rows of all files, in their order.
pub(super) fn list(
    base: &Path,
    files: &[PathBuf],
    image: &str,
    columns: &LabelColumns,
) -> Result<Vec<Found>, WorkError> {
    let mut found = Vec::new();
    for path in files {
        let at = |message: String| wrong(format!("{}: {message}", path.display()));
        let open = || File::open(base.join(path)).map_err(|error| at(error.to_string()));
        let name = path.to_str().ok_or_else(|| at("the name is not UTF-8: rename the file".to_owned()))?;
        let schema = frame::columns(open()?).map_err(|error| at(format!("is not a Parquet file: {error}")))?;
        check_columns(&schema, image, columns).map_err(at)?;
        let n_rows = frame::n_rows(open()?).map_err(|error| at(error.to_string()))?;
        let wanted = label_columns(columns);
        let names: Vec<String> = wanted.iter().map(|(_, column)| (*column).to_owned()).collect();
        let labels = if names.is_empty() {
            None
        } else {
            Some(frame::read(open()?, Some(&names)).map_err(|error| at(error.to_string()))?)
        };
        let version = version(open()?, image).map_err(|error| at(error.to_string()))?;
        for row in 0..n_rows {
            let labels = match &labels {
                Some(rows) => labels_of(rows, &wanted, row).map_err(|error| at(error.to_string()))?,
                None => Labels::default(),
            };
            let key = format!("{name}:{row}");
            let (file, version) = (name.to_owned(), Some(version.clone()));
            found.push(Found { key, file, offset: row, n_bytes: None, labels, version, fault: None });
        }
    }
    Ok(found)
}

/// The column read, and a digest of the end of the file: the footer there has the sizes and places of all pages, so that
/// another file with as many rows is told from this one without reading it.
pub(crate) fn version(mut file: File, image: &str) -> std::io::Result<String> {
    const TAIL_BYTES: u64 = 1 << 20;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(Hasher::new("parquet-version/v1").text("image", image).number("length", length).bytes("tail", &tail).row_id())
}

/// Label → column, of those that are named.
fn label_columns(columns: &LabelColumns) -> Vec<(&'static str, &str)> {
    [
        ("class", &columns.class),
        ("caption", &columns.caption),
        ("subject_id", &columns.subject_id),
        ("licence", &columns.licence),
        ("source", &columns.source),
    ]
    .into_iter()
    .filter_map(|(label, column)| Some((label, column.as_deref()?)))
    .collect()
}

fn check_columns(schema: &Schema, image: &str, columns: &LabelColumns) -> Result<(), String> {
    let names = || schema.iter_names().map(PlSmallStr::as_str).collect::<Vec<_>>().join(", ");
    match schema.get(image) {
        None => return Err(format!("there is no column `{image}` of pictures: it has {}", names())),
        Some(dtype) if !is_image(dtype) => {
            return Err(format!("column `{image}` is {dtype}, a struct with `bytes` or binary was expected"));
        }
        Some(_) => {}
    }
    for (label, column) in label_columns(columns) {
        if schema.get(column).is_none() {
            return Err(format!("there is no column `{column}`, named as columns.{label}: it has {}", names()));
        }
    }
    Ok(())
}

/// Whether a column of this type can hold pictures.
pub(crate) fn is_image(dtype: &DataType) -> bool {
    match dtype {
        DataType::Binary => true,
        DataType::Struct(fields) => fields.iter().any(|field| field.name == "bytes" && field.dtype == DataType::Binary),
        _ => false,
    }
}

fn labels_of(rows: &DataFrame, wanted: &[(&'static str, &str)], row: u64) -> PolarsResult<Labels> {
    let mut labels = Labels::default();
    for (label, column) in wanted {
        let value = rows.column(column)?.get(usize::try_from(row).unwrap_or(usize::MAX))?;
        if !value.is_null() {
            labels.set(label, &cafe_pipeline::stage::id_text(&value));
        }
    }
    Ok(labels)
}

/// The encoded pictures of a column of structs or of binaries; `None` for a null.
pub(crate) fn image_bytes(column: &Column) -> PolarsResult<BinaryChunked> {
    let series = column.as_materialized_series();
    match series.dtype() {
        DataType::Struct(_) => Ok(series.struct_()?.field_by_name("bytes")?.binary()?.clone()),
        _ => Ok(series.binary()?.clone()),
    }
}

/// The pictures at `found`, read a run of rows at a time.
pub(super) fn read(base: &Path, image: &str, found: &[Found], limits: &Limits) -> Vec<Result<Vec<u8>, Fault>> {
    let is_next = |one: &Found, next: &Found| one.file == next.file && one.offset + 1 == next.offset;
    found.chunk_by(is_next).flat_map(|run| read_run(base, image, run, limits)).collect()
}

fn read_run(base: &Path, image: &str, run: &[Found], limits: &Limits) -> Vec<Result<Vec<u8>, Fault>> {
    let Some(first) = run.first() else { return Vec::new() };
    let offset = usize::try_from(first.offset).unwrap_or(usize::MAX);
    let columns = [image.to_owned()];
    let pictures = File::open(base.join(&first.file))
        .map_err(PolarsError::from)
        .and_then(|file| frame::read_slice(file, offset, run.len(), Some(&columns)))
        .and_then(|rows| image_bytes(rows.column(image)?));
    match pictures {
        Ok(pictures) => run
            .iter()
            .enumerate()
            .map(|(at, found)| {
                check(found, limits)?;
                let bytes = pictures.get(at).ok_or_else(|| Fault::new(ErrorClass::Invalid, "has no picture"))?;
                check_size(bytes.len() as u64, limits)?;
                Ok(bytes.to_vec())
            })
            .collect(),
        // A damaged page takes its whole row group: the rows are tried one by one.
        Err(_) if run.len() > 1 => run.chunks(1).flat_map(|one| read_run(base, image, one, limits)).collect(),
        Err(error) => vec![Err(Fault::new(ErrorClass::Unreadable, format!("cannot be read: {error}")))],
    }
}
