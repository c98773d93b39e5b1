//! What goes to stdout, and tables in it.

use std::io::{self, Write};

pub(crate) use cafe_pipeline::text::{Align, bytes, count, duration};

use crate::failure::Failure;

/// A table; each column with its header.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let (headers, alignment): (Vec<&str>, Vec<Align>) = columns.iter().copied().unzip();
    cafe_pipeline::text::table(&headers, rows, &alignment)
}

/// Writes to stdout. A reader that has seen enough and closed the pipe is no error.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a value as indented JSON to stdout.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Failure::Internal(error.to_string()))?;
    text.push('\n');
    out(&text)
}
