//! Answers as a table for people, and as CSV and JSON for programs.

use std::io::{self, BufWriter, Write};
use std::str::FromStr;

use polars::prelude::*;

use super::cell::{json, plain, shown};
use crate::text::{self, Align};

/// Rows of a table on a terminal, at most: programs take the other formats.
const MAX_TABLE_ROWS: usize = 200;
/// Terminal columns of a cell, at most.
const MAX_CELL_WIDTH: usize = 48;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: long cells are cut, bytes shown by their size, at most 200 rows.
    #[default]
    Table,
    /// One line per row and one of headers; bytes as hexadecimal text, lists and structs as JSON. A null is empty, an
    /// empty text `""`.
    Csv,
    /// One array with an object per row and line; bytes as hexadecimal text.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "table" => Ok(Self::Table),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            other => Err(format!("there is no format `{other}`; choose `table`, `csv` or `json`")),
        }
    }
}

/// Writes `rows`. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Of `out`.
pub fn write(rows: &DataFrame, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    let written = match format {
        Format::Table => table(rows, &mut out),
        Format::Csv => csv(rows, &mut out),
        Format::Json => array(rows, &mut out),
    }
    .and_then(|()| out.flush());
    // What could not be flushed must not be tried again when the buffer is dropped.
    let _ = out.into_parts();
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn table(rows: &DataFrame, out: &mut impl Write) -> io::Result<()> {
    let headers: Vec<&str> = rows.columns().iter().map(|column| column.name().as_str()).collect();
    let alignment: Vec<Align> = rows
        .columns()
        .iter()
        .map(|column| if column.dtype().is_primitive_numeric() { Align::Right } else { Align::Left })
        .collect();
    let mut cells = Vec::new();
    each_row(&rows.head(Some(MAX_TABLE_ROWS)), |values| {
        cells
            .push(values.iter().map(|value| text::truncated(&text::one_line(&shown(value)), MAX_CELL_WIDTH)).collect());
        Ok(())
    })?;
    out.write_all(text::table(&headers, &cells, &alignment).as_bytes())?;
    let height = rows.height();
    if height > MAX_TABLE_ROWS {
        let (shown, all) = (text::count(MAX_TABLE_ROWS as u64), text::count(height as u64));
        writeln!(out, "({shown} of {all} rows; --format csv or json writes them all)")?;
    }
    Ok(())
}

fn csv(rows: &DataFrame, out: &mut impl Write) -> io::Result<()> {
    for (at, column) in rows.columns().iter().enumerate() {
        separator(out, at)?;
        field(out, column.name())?;
    }
    out.write_all(b"\n")?;
    each_row(rows, |values| {
        for (at, value) in values.iter().enumerate() {
            separator(out, at)?;
            match value {
                // Without a copy, for what there is most of.
                AnyValue::String(text) => field(out, text)?,
                other => {
                    if let Some(text) = plain(other) {
                        field(out, &text)?;
                    }
                }
            }
        }
        out.write_all(b"\n")
    })
}

fn separator(out: &mut impl Write, at: usize) -> io::Result<()> {
    if at > 0 { out.write_all(b",") } else { Ok(()) }
}

fn field(out: &mut impl Write, text: &str) -> io::Result<()> {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}

fn array(rows: &DataFrame, out: &mut impl Write) -> io::Result<()> {
    let names: Vec<String> =
        rows.columns().iter().map(|column| serde_json::Value::from(column.name().as_str()).to_string()).collect();
    let mut is_first = true;
    out.write_all(b"[")?;
    each_row(rows, |values| {
        out.write_all(if is_first { b"\n{" } else { b",\n{" })?;
        is_first = false;
        for (at, (name, value)) in names.iter().zip(values).enumerate() {
            separator(out, at)?;
            write!(out, "{name}:")?;
            serde_json::to_writer(&mut *out, &json(value))?;
        }
        out.write_all(b"}")
    })?;
    out.write_all(b"\n]\n")
}

/// Goes through the rows, one after the other.
fn each_row(rows: &DataFrame, mut row: impl FnMut(&[AnyValue<'_>]) -> io::Result<()>) -> io::Result<()> {
    let series: Vec<Series> = rows.columns().iter().map(|column| column.as_materialized_series().rechunk()).collect();
    let mut columns: Vec<_> = series.iter().map(Series::iter).collect();
    let mut values = Vec::with_capacity(columns.len());
    for _ in 0..rows.height() {
        values.clear();
        values.extend(columns.iter_mut().map(|column| column.next().unwrap_or(AnyValue::Null)));
        row(&values)?;
    }
    Ok(())
}
