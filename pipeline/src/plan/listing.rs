//! Listings: the rows that a source or barrier node is cut into shards by.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use polars::prelude::*;

use super::{Plan, PlanNode};
use crate::catalog::ListingSlice;
use crate::digest::{Digest, Hasher};
use crate::frame;
use crate::stage::{Bounds, Cancel, WorkContext, WorkError};
use crate::storage::{Storage, write_once};

/// A listing, with what it is known by.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The rows.
    pub rows: DataFrame,
    /// Of the rows' values.
    pub digest: Digest,
}

/// A preview of so many rows of each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Rows, taken at equal distances.
    pub n_rows: u64,
}

impl Listing {
    /// A listing of `rows`.
    #[must_use]
    pub fn new(rows: DataFrame) -> Self {
        let digest = digest_of_rows(&rows);
        Self { rows, digest }
    }

    /// The number of rows.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.rows.height() as u64
    }

    /// Where the listing is stored.
    #[must_use]
    pub fn path(&self) -> String {
        format!("listings/{}.parquet", self.digest)
    }

    /// Stores the listing, once; a damaged one is replaced.
    ///
    /// # Errors
    /// Of the storage.
    pub fn store(&self, storage: &dyn Storage) -> Result<(), WorkError> {
        let path = self.path();
        if storage.size(&path).is_ok() {
            // The name says what must be in it.
            let stored = storage.open(&path).ok().and_then(|file| frame::read(file, None).ok()).map(Self::new);
            if stored.is_some_and(|stored| stored.digest == self.digest) {
                return Ok(());
            }
            storage.remove(&path).map_err(|error| WorkError::io(&path, &error))?;
        }
        let bytes = frame::to_parquet(&mut self.rows.clone(), &[])?;
        match write_once(storage, &path, &bytes) {
            // Another process came first; the name says that it wrote the same rows.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map(|_| ()).map_err(|error| WorkError::io(&path, &error)),
        }
    }

    /// `n_rows` rows at equal distances, the first one included.
    #[must_use]
    pub fn sample(&self, sample: Sample) -> Self {
        let (height, wanted) = (self.n_rows(), sample.n_rows);
        if wanted >= height {
            return self.clone();
        }
        let picks = (0..wanted).map(|pick| u128::from(pick) * u128::from(height) / u128::from(wanted.max(1)));
        let picks = IdxCa::from_vec("row".into(), picks.map(|row| row as IdxSize).collect());
        self.rows.take(&picks).map_or_else(|_| self.clone(), Self::new)
    }
}

/// Lists the sources of a plan.
///
/// # Errors
/// The node at fault, and why it cannot be listed.
pub fn list_sources(
    plan: &Plan,
    storage: &Arc<dyn Storage>,
    sample: Option<Sample>,
) -> Result<BTreeMap<String, Listing>, (String, WorkError)> {
    let mut listings = BTreeMap::new();
    for node in &plan.nodes {
        if let Bounds::Source(lister) = &node.decl.bounds {
            let context = WorkContext {
                node: node.name.clone(),
                shard_index: 0,
                seed: plan.seed(),
                storage: Arc::clone(storage),
                scratch: PathBuf::new(),
                inputs: BTreeMap::new(),
                cancel: Cancel::default(),
            };
            let rows = lister.list(&context).map_err(|error| (node.name.clone(), error))?;
            let listing = Listing::new(rows);
            listings.insert(node.name.clone(), sample.map_or(listing.clone(), |sample| listing.sample(sample)));
        }
    }
    Ok(listings)
}

/// Cuts a listing into the shards of `node`.
#[must_use]
pub fn slices(node: &PlanNode, listing: &Listing) -> Vec<ListingSlice> {
    let (height, shard_rows) = (listing.n_rows(), u64::from(node.settings.shard_rows.max(1)));
    let hashes = row_hashes(&listing.rows);
    (0..height)
        .step_by(usize::try_from(shard_rows).unwrap_or(usize::MAX))
        .map(|offset| {
            let n_rows = shard_rows.min(height - offset);
            let range = usize::try_from(offset).unwrap_or(0)..usize::try_from(offset + n_rows).unwrap_or(0);
            let digest = digest_of_slice(hashes.get(range).unwrap_or_default());
            ListingSlice { path: listing.path(), offset, n_rows, digest }
        })
        .collect()
}

/// What [`slices`] gave the slice that has these rows.
pub(crate) fn slice_digest(rows: &DataFrame) -> Digest {
    digest_of_slice(&row_hashes(rows))
}

fn digest_of_slice(hashes: &[Digest]) -> Digest {
    hashes.iter().fold(Hasher::new("slice/v1"), |hasher, hash| hasher.bytes("row", hash.as_bytes())).digest()
}

fn digest_of_rows(rows: &DataFrame) -> Digest {
    let mut hasher = Hasher::new("listing/v1");
    for column in rows.columns() {
        hasher = hasher.text("column", column.name());
    }
    for hash in row_hashes(rows) {
        hasher = hasher.bytes("row", hash.as_bytes());
    }
    hasher.digest()
}

/// A digest per row, over names and values of all columns. Also the key under which a journal keeps a row's results.
pub(crate) fn row_hashes(rows: &DataFrame) -> Vec<Digest> {
    let mut hashers = vec![Hasher::new("row/v1"); rows.height()];
    for column in rows.columns() {
        let series = column.as_materialized_series();
        for (hasher, value) in hashers.iter_mut().zip(series.rechunk().iter()) {
            *hasher = hash_value(hasher.clone(), column.name(), &value);
        }
    }
    hashers.iter().map(Hasher::digest).collect()
}

fn hash_value(hasher: Hasher, name: &str, value: &AnyValue<'_>) -> Hasher {
    match value {
        AnyValue::Null => hasher.text("null", name),
        AnyValue::String(text) => hasher.text(name, text),
        AnyValue::StringOwned(text) => hasher.text(name, text),
        AnyValue::Binary(bytes) => hasher.bytes(name, bytes),
        AnyValue::BinaryOwned(bytes) => hasher.bytes(name, bytes),
        AnyValue::Struct(..) | AnyValue::StructOwned(..) => {
            value._iter_struct_av().fold(hasher.text("struct", name), |hasher, field| hash_value(hasher, name, &field))
        }
        // The text of a float is rounded; its bits are not.
        AnyValue::Float64(number) => hasher.number(name, number.to_bits()),
        AnyValue::Float32(number) => hasher.number(name, number.to_bits().into()),
        AnyValue::List(values) => {
            values.iter().fold(hasher.text("list", name).number("n", values.len() as u64), |hasher, value| {
                hash_value(hasher, name, &value)
            })
        }
        scalar => hasher.text(name, &scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_differ_in_any_digit_or_element_have_other_hashes() {
        let (one, other) = (0.123_456_789_f64, 0.123_456_788_f64);
        let list = |values: [i64; 3]| Column::new("l".into(), [Series::new("".into(), values)]);
        let rows = [
            df!("x" => [one]).unwrap(),
            df!("x" => [other]).unwrap(),
            df!("x" => [Some(0_i64)]).unwrap(),
            df!("x" => [None::<i64>]).unwrap(),
            DataFrame::new_infer_height(vec![list([1, 2, 3])]).unwrap(),
            DataFrame::new_infer_height(vec![list([1, 2, 4])]).unwrap(),
        ];
        let mut hashes: Vec<Digest> = rows.iter().flat_map(row_hashes).collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), rows.len());
    }
}
