//! Parquet in and out. One set of options, so that equal rows make equal bytes.

use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::prelude::*;

/// Rows in a row group with pixels: few enough to read a part of a shard.
const PIXEL_GROUP_ROWS: usize = 1024;
/// Rows in a row group without: enough for pages not to be the cost of reading.
const ROW_GROUP_ROWS: usize = 16_384;

/// The rows as the bytes of a Parquet file, `metadata` in its footer.
///
/// # Errors
/// Of the encoder.
pub fn to_parquet(rows: &mut DataFrame, metadata: &[(&str, &str)]) -> PolarsResult<Vec<u8>> {
    // Minima and maxima of pixels would only swell the footer.
    let has_pixels = rows.columns().iter().any(|column| column.dtype().is_nested() || column.dtype().is_binary());
    let statistics = if has_pixels { StatisticsOptions::empty() } else { StatisticsOptions::default() };
    // Equal rows must make equal bytes, in whatever pieces they came.
    rows.rechunk_mut_par();
    let mut bytes = Vec::new();
    let mut writer = ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Zstd(None))
        .with_statistics(statistics)
        .with_row_group_size(Some(if has_pixels { PIXEL_GROUP_ROWS } else { ROW_GROUP_ROWS }));
    if !metadata.is_empty() {
        let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        writer = writer.with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)));
    }
    writer.finish(rows)?;
    Ok(bytes)
}

/// Reads a Parquet file, `columns` of it only when given. A damaged file is an error, also where the decoder panics.
///
/// # Errors
/// Of the decoder; a missing column.
pub fn read(file: File, columns: Option<&[String]>) -> PolarsResult<DataFrame> {
    guarded(move || {
        let mut reader = ParquetReader::new(file).set_low_memory(false);
        if let Some(columns) = columns {
            reader = reader.with_columns(Some(columns.to_vec()));
        }
        let mut rows = reader.finish()?;
        rows.rechunk_mut_par();
        Ok(rows)
    })
}

/// Reads `n_rows` rows of a Parquet file, from row `offset` on, `columns` of them only when given.
///
/// # Errors
/// As [`read`].
pub fn read_slice(file: File, offset: usize, n_rows: usize, columns: Option<&[String]>) -> PolarsResult<DataFrame> {
    guarded(move || {
        let mut reader = ParquetReader::new(file).with_slice(Some((offset, n_rows)));
        if let Some(columns) = columns {
            reader = reader.with_columns(Some(columns.to_vec()));
        }
        reader.finish()
    })
}

/// Reads a Parquet file held in memory.
///
/// # Errors
/// As [`read`].
pub fn from_parquet(bytes: Vec<u8>) -> PolarsResult<DataFrame> {
    guarded(move || ParquetReader::new(Cursor::new(bytes)).finish())
}

/// The number of rows, from the footer alone.
///
/// # Errors
/// As [`read`].
pub fn n_rows(file: File) -> PolarsResult<u64> {
    guarded(move || Ok(ParquetReader::new(file).num_rows()? as u64))
}

/// The columns and their types, from the footer alone.
///
/// # Errors
/// As [`read`].
pub fn columns(file: File) -> PolarsResult<Schema> {
    guarded(move || {
        let schema = ParquetReader::new(file).schema()?;
        Ok(Schema::from_arrow_schema(schema.as_ref()))
    })
}

/// A text from the footer; `None` where the footer has no such key.
///
/// # Errors
/// As [`read`].
pub fn metadata(file: File, key: &str) -> PolarsResult<Option<String>> {
    guarded(move || {
        let mut reader = ParquetReader::new(file);
        let pairs = reader.get_metadata()?.key_value_metadata().iter().flatten();
        let mut found = pairs.filter(|pair| pair.key == key);
        Ok(found.next().and_then(|pair| pair.value.clone()))
    })
}

/// Parquet files come from outside: a panic in the decoder is an error like any other.
fn guarded<T>(read: impl FnOnce() -> PolarsResult<T>) -> PolarsResult<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = crate::panic_message(panic.as_ref());
        Err(PolarsError::ComputeError(format!("not a valid Parquet file: {message}").into()))
    })
}
