//! What a release says of itself, read again by those that take it further.

use std::path::{Component, Path};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::release::published;
use cafe_pipeline::storage::Storage;
use serde::Deserialize;

use super::files::FileRecord;
use super::release::FORMAT;

/// What is read of `release.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Described {
    format: String,
    pub(crate) content_digest: String,
    /// All files but `release.json`; none lies outside of the release's folder.
    pub(crate) files: Vec<FileRecord>,
}

impl Described {
    /// Reads that of the release in `folder`, which must have the digest that was published, and its bytes; else what is wrong with it.
    pub(crate) fn read(storage: &dyn Storage, folder: &str, digest: Digest) -> Result<(Self, Vec<u8>), String> {
        let json = published(storage, folder, digest)?;
        let described: Self = serde_json::from_slice(&json)
            .map_err(|error| format!("is not as this version of cafe-data writes it: {error}"))?;
        if described.format != FORMAT {
            let format = &described.format;
            return Err(format!("has the format `{format}`, and this version of cafe-data reads `{FORMAT}`"));
        }
        match described.files.iter().find(|file| !is_inside(file)) {
            Some(file) => Err(format!("lists `{}`, which is no file of the release's folder", file.path)),
            None => Ok((described, json)),
        }
    }
}

/// Whether path and split can stand in the names of files without leaving the folder.
fn is_inside(file: &FileRecord) -> bool {
    let mut parts = Path::new(&file.path).components();
    let is_word = |split: &String| !split.is_empty() && split.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    !file.path.is_empty()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && file.split.as_ref().is_none_or(is_word)
}
