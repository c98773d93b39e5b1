//! Reading `config.json` and its like.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{EngineError, Result};

/// Reads the JSON file `path`.
///
/// # Errors
/// When it cannot be read, or is not what is wanted: with line, column and key.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| EngineError::io(path, error))?;
    serde_json::from_str(&text).map_err(|error| EngineError::config(path, error.to_string()))
}
