//! The pairs of a release, as a training reads them.

use std::path::PathBuf;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::release::RELEASE_JSON;
use cafe_pipeline::stage::WorkError;
use cafe_pipeline::storage::Storage;

use crate::publish::Described;
use crate::training_pairs::{TrainingPairs, Wanted};

/// The pairs in `split` of the release in `folder`, whose `release.json` must have this digest.
pub(super) fn pairs(
    storage: &dyn Storage,
    folder: &str,
    digest: &str,
    split: &str,
) -> Result<TrainingPairs, WorkError> {
    let damaged = |fault: String| {
        let advice = "`cafe-data audit --verify` says what is damaged";
        WorkError::Systemic(format!("{folder}/{RELEASE_JSON} is not what was published: it {fault}; {advice}"))
    };
    let digest = Digest::from_hex(digest).map_err(|error| damaged(format!("has no digest: {error}")))?;
    let (described, _) = Described::read(storage, folder, digest).map_err(damaged)?;
    let root = storage.root().join(folder);
    let of_split = described.files.iter().filter(|file| file.split.as_deref() == Some(split));
    let files: Vec<PathBuf> = of_split.map(|file| root.join(&file.path)).collect();
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
