//! The pairs of a release, as a training reads them.

use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::WorkError;
use cafe_pipeline::storage::Storage;
use serde::Deserialize;

use crate::publish::RELEASE_JSON;
use crate::training_pairs::{TrainingPairs, Wanted};

/// What is read of `release.json`.
#[derive(Deserialize)]
struct Listing {
    files: Vec<ListedFile>,
}

#[derive(Deserialize)]
struct ListedFile {
    path: String,
    #[serde(default)]
    split: Option<String>,
}

/// The pairs in `split` of the release in `folder`, whose `release.json` must have this digest.
pub(super) fn pairs(
    storage: &dyn Storage,
    folder: &str,
    digest: &str,
    split: &str,
) -> Result<TrainingPairs, WorkError> {
    let path = format!("{folder}/{RELEASE_JSON}");
    let mut bytes = Vec::new();
    let read = storage.open(&path).and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut bytes));
    read.map_err(|error| {
        WorkError::Systemic(format!("{path}: {error}; `cafe-data audit --verify` says what is damaged"))
    })?;
    if Digest::of(&bytes).to_hex() != digest {
        let message = format!("{path} is not what was published; `cafe-data audit --verify` says what is damaged");
        return Err(WorkError::Systemic(message));
    }
    let listing: Listing = serde_json::from_slice(&bytes)
        .map_err(|error| WorkError::Systemic(format!("{path} cannot be read: {error}")))?;
    let root = storage.root().join(folder);
    let files: Vec<PathBuf> = listing
        .files
        .iter()
        .filter(|file| file.split.as_deref() == Some(split))
        .map(|file| root.join(Path::new(&file.path)))
        .collect();
    let pairs =
        TrainingPairs::of_files(files, Wanted::Pairs).map_err(|error| WorkError::Systemic(error.to_string()))?;
    if pairs.n_rows() == 0 {
        let message =
            format!("the release in {folder} has no pairs in the split `{split}`: there is nothing to train on");
        return Err(WorkError::Systemic(format!(
            "{message}; look at `cafe-data report` for what was rejected, and why"
        )));
    }
    Ok(pairs)
}
