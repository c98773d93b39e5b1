//! What frozen models make of the pictures of a training, encoded once and kept on disk.
//!
//! A folder of shards, each a safetensors file with a tensor `ROW.NAME` for each row and each column. A shard that is there is
//! whole, so that encoding goes on where it stopped; and rows are read one by one through the page cache, so that they may be
//! larger than memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::error::{EngineError, Result};
use crate::weights::{Metadata, Weights, read_metadata, save};

/// Rows in a shard.
const SHARD_ROWS: usize = 64;
const FINGERPRINT: &str = "fingerprint";

/// Rows that were encoded together: columns of shape (rows, …).
#[derive(Clone, Debug)]
pub struct EncodedRows {
    columns: BTreeMap<String, Tensor>,
}

impl EncodedRows {
    /// Of columns with as many rows each.
    pub fn new(columns: impl IntoIterator<Item = (&'static str, Tensor)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect() }
    }

    /// Rows of several batches, one after the other.
    ///
    /// # Errors
    /// When they have other columns or shapes than each other, or there are none.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let first = parts.first().ok_or_else(|| EngineError::argument("no rows were encoded"))?;
        let column = |name: &String| -> Result<(String, Tensor)> {
            let of_parts: Vec<&Tensor> = parts.iter().filter_map(|part| part.columns.get(name)).collect();
            if of_parts.len() != parts.len() {
                return Err(EngineError::argument(format!("some of the rows have no `{name}`")));
            }
            Ok((name.clone(), Tensor::cat(&of_parts, 0)?))
        };
        Ok(Self { columns: first.columns.keys().map(column).collect::<Result<_>>()? })
    }
}

/// A folder of encoded rows.
pub struct EncodedTable {
    folder: PathBuf,
    n_rows: usize,
    fingerprint: String,
    shards: Vec<Option<Weights>>,
}

impl EncodedTable {
    /// Opens `folder` for `n_rows` rows. Shards are taken that were encoded from the same pictures by the same models, as
    /// `fingerprint` tells; others will be made anew.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, n_rows: usize, fingerprint: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::io(folder, error))?;
        let mut table = Self { folder: folder.into(), n_rows, fingerprint: fingerprint.to_owned(), shards: Vec::new() };
        table.shards = (0..n_rows.div_ceil(SHARD_ROWS)).map(|index| table.shard(index)).collect();
        Ok(table)
    }

    /// How many rows there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// First row and number of rows of each shard that is not there yet.
    #[must_use]
    pub fn missing(&self) -> Vec<(usize, usize)> {
        let range = |index: usize| (index * SHARD_ROWS, SHARD_ROWS.min(self.n_rows - index * SHARD_ROWS));
        self.shards.iter().enumerate().filter(|(_, shard)| shard.is_none()).map(|(index, _)| range(index)).collect()
    }

    /// Writes the shard whose first row is `offset`.
    ///
    /// # Errors
    /// When columns have other numbers of rows than each other, or the disk refuses.
    pub fn write(&mut self, offset: usize, rows: &EncodedRows) -> Result<()> {
        let index = offset / SHARD_ROWS;
        let mut tensors = BTreeMap::new();
        for (name, column) in &rows.columns {
            for row in 0..column.dim(0)? {
                tensors.insert(format!("{}.{name}", offset + row), column.get(row)?.contiguous()?);
            }
        }
        let metadata = Metadata::from([(FINGERPRINT.to_owned(), self.fingerprint.clone())]);
        save(&tensors, &metadata, &self.path(index))?;
        let shard = self.shard(index);
        if let Some(place) = self.shards.get_mut(index) {
            *place = shard;
        }
        Ok(())
    }

    /// A column of some rows: (rows, …).
    ///
    /// # Errors
    /// When a row was not encoded, there is no such column, or the shard is damaged.
    pub fn stack(&self, rows: &[usize], name: &str, device: &Device) -> Result<Tensor> {
        let rows = rows.iter().map(|row| self.tensor(*row, name)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&rows, 0)?.to_device(device)?)
    }

    fn tensor(&self, row: usize, name: &str) -> Result<Tensor> {
        let shard = self.shards.get(row / SHARD_ROWS).and_then(Option::as_ref);
        let shard =
            shard.ok_or_else(|| EngineError::argument(format!("row {row} of {} is not encoded", self.n_rows)))?;
        Ok(shard.tensor(&format!("{row}.{name}"))?)
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{index:06}.safetensors"))
    }

    /// A shard that is there, whole, and of the same pictures and models.
    fn shard(&self, index: usize) -> Option<Weights> {
        let path = self.path(index);
        let metadata = read_metadata(&path).ok()?;
        (metadata.get(FINGERPRINT) == Some(&self.fingerprint)).then(|| Weights::open_file(&path).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_close;

    fn rows(n: usize, value: f32) -> EncodedRows {
        let filled = |shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        EncodedRows::new([("clip", filled(&[n, 3])), ("dino", filled(&[n, 5, 2]))])
    }

    #[test]
    fn what_is_encoded_is_taken_again_and_what_is_of_other_models_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let n_rows = SHARD_ROWS + 3;
        let mut pairs = EncodedTable::open(folder.path(), n_rows, "one").unwrap();
        assert_eq!(pairs.missing(), [(0, SHARD_ROWS), (SHARD_ROWS, 3)]);
        pairs.write(SHARD_ROWS, &rows(3, 2.0)).unwrap();
        assert_eq!(pairs.missing(), [(0, SHARD_ROWS)]);
        let again = EncodedTable::open(folder.path(), n_rows, "one").unwrap();
        assert_eq!(again.missing(), [(0, SHARD_ROWS)]);
        let stack = |rows: &[usize], name: &str| again.stack(rows, name, &Device::Cpu);
        let clip = stack(&[SHARD_ROWS + 2, SHARD_ROWS], "clip").unwrap();
        assert_close("clip", &clip, &Tensor::full(2.0_f32, (2, 3), &Device::Cpu).unwrap(), 0.0);
        assert_eq!(stack(&[SHARD_ROWS], "dino").unwrap().dims(), [1, 5, 2]);
        assert!(stack(&[0], "clip").unwrap_err().to_string().contains("row 0 of 67 is not encoded"));
        assert!(stack(&[SHARD_ROWS], "latents").is_err());
        let other = EncodedTable::open(folder.path(), n_rows, "two").unwrap();
        assert_eq!(other.missing().len(), 2);
    }

    #[test]
    fn a_shard_that_was_cut_short_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        EncodedTable::open(folder.path(), 2, "one").unwrap().write(0, &rows(2, 1.0)).unwrap();
        let file = folder.path().join("000000.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
        assert_eq!(EncodedTable::open(folder.path(), 2, "one").unwrap().missing(), [(0, 2)]);
    }

    #[test]
    fn parts_are_joined() {
        let joined = EncodedRows::concat(&[rows(2, 1.0), rows(1, 2.0)]).unwrap();
        assert_eq!(joined.columns["clip"].to_vec2::<f32>().unwrap(), [[1.0; 3], [1.0; 3], [2.0; 3]]);
        assert!(EncodedRows::concat(&[]).is_err());
        let other = EncodedRows::new([("clip", joined.columns["clip"].clone())]);
        assert!(EncodedRows::concat(&[rows(1, 1.0), other]).is_err());
    }
}
