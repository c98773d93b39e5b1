//! What tells weights from others.

use std::collections::BTreeSet;
use std::fs::File;

use candle_core::DType;

use super::{Tensors, Weights, WeightsError};

impl Weights {
    /// BLAKE3 of the files, in the order of their names, or of names and values where the weights are in memory: 64
    /// hexadecimal digits. Reads everything.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<String, WeightsError> {
        let mut hasher = blake3::Hasher::new();
        match &self.source.tensors {
            Tensors::Mapped { files, .. } => {
                for path in files.values().collect::<BTreeSet<_>>() {
                    let unreadable = |error: std::io::Error| WeightsError::Unreadable {
                        file: path.clone(),
                        reason: error.to_string(),
                    };
                    hasher.update_reader(File::open(path).map_err(unreadable)?).map_err(unreadable)?;
                }
            }
            Tensors::InMemory(tensors) => {
                for (name, tensor) in tensors {
                    let unreadable = |error: candle_core::Error| WeightsError::Unreadable {
                        file: self.source.file.clone(),
                        reason: error.to_string(),
                    };
                    hasher.update(name.as_bytes());
                    let values = tensor.flatten_all().and_then(|tensor| tensor.to_dtype(DType::F32)?.to_vec1::<f32>());
                    for value in values.map_err(unreadable)? {
                        hasher.update(&value.to_le_bytes());
                    }
                }
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}
