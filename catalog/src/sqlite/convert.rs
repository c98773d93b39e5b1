//! Between the pipeline's records and SQL's values.

use cafe_pipeline::catalog::{CatalogError, ListingSlice, Result};
use cafe_pipeline::digest::{Digest, Fingerprint};
use serde_json::Value;

/// SQL has no unsigned integers.
pub(super) fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| CatalogError::Internal(format!("{number} does not fit into a column")))
}

/// What [`signed`] wrote.
pub(super) fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| CatalogError::Internal(format!("a count is {number}")))
}

/// The same, for smaller numbers.
pub(super) fn small(number: i64) -> Result<u32> {
    u32::try_from(number).map_err(|_| CatalogError::Internal(format!("a number is {number}")))
}

pub(super) fn digest(hex: &str) -> Result<Digest> {
    Digest::from_hex(hex).map_err(|error| CatalogError::Internal(error.to_string()))
}

pub(super) fn fingerprint(hex: &str) -> Result<Fingerprint> {
    Fingerprint::from_hex(hex).map_err(|error| CatalogError::Internal(error.to_string()))
}

pub(super) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(not_json)
}

pub(super) fn not_json(error: serde_json::Error) -> CatalogError {
    CatalogError::Internal(format!("JSON: {error}"))
}

/// The columns of a listing slice, all set or none.
#[derive(sqlx::FromRow)]
pub(super) struct SliceColumns {
    slice_path: Option<String>,
    slice_offset: Option<i64>,
    slice_rows: Option<i64>,
    slice_digest: Option<String>,
}

impl SliceColumns {
    pub(super) fn slice(self) -> Result<Option<ListingSlice>> {
        match (self.slice_path, self.slice_offset, self.slice_rows, self.slice_digest) {
            (Some(path), Some(offset), Some(n_rows), Some(hex)) => Ok(Some(ListingSlice {
                path,
                offset: unsigned(offset)?,
                n_rows: unsigned(n_rows)?,
                digest: digest(&hex)?,
            })),
            _ => Ok(None),
        }
    }
}
