//! Finding the weight files of a folder, and opening them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use serde::Deserialize;

use super::WeightsError;

/// File names that Hugging Face's `save_pretrained` gives, in the order in which they are looked for.
const NAMES: [&str; 2] = ["model.safetensors", "diffusion_pytorch_model.safetensors"];

pub(super) struct Opened {
    /// The one file, or the index of several.
    pub(super) file: PathBuf,
    pub(super) tensors: MmapedSafetensors,
    /// Which file holds which tensor.
    pub(super) files: BTreeMap<String, PathBuf>,
}

/// The index beside weights that are in several files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn open(folder: &Path) -> Result<Opened, WeightsError> {
    for name in NAMES {
        let file = folder.join(name);
        if file.is_file() {
            return open_single(file);
        }
        let index = folder.join(format!("{name}.index.json"));
        if index.is_file() {
            return open_indexed(folder, index);
        }
    }
    Err(WeightsError::NoFile {
        folder: folder.into(),
        wanted: NAMES.map(|name| format!("{name}[.index.json]")).join(", "),
    })
}

pub(super) fn open_single(file: PathBuf) -> Result<Opened, WeightsError> {
    let tensors = map(std::slice::from_ref(&file), &file)?;
    let files = tensors.tensors().into_iter().map(|(name, _)| (name, file.clone())).collect();
    Ok(Opened { file, tensors, files })
}

fn open_indexed(folder: &Path, index: PathBuf) -> Result<Opened, WeightsError> {
    let unreadable = |reason: String| WeightsError::Unreadable { file: index.clone(), reason };
    let text = std::fs::read(&index).map_err(|error| unreadable(error.to_string()))?;
    let Index { weight_map } = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let escapes = |name: &String| Path::new(name).components().count() != 1 || name.starts_with('.');
    if let Some(name) = weight_map.values().find(|name| escapes(name)) {
        return Err(unreadable(format!("names the file `{name}`, which is not a plain file name")));
    }
    let paths: Vec<PathBuf> =
        weight_map.values().collect::<BTreeSet<_>>().into_iter().map(|name| folder.join(name)).collect();
    let tensors = map(&paths, &index)?;
    let files: BTreeMap<String, PathBuf> =
        weight_map.into_iter().map(|(tensor, name)| (tensor, folder.join(name))).collect();
    match files.iter().find(|(tensor, _)| tensors.get(tensor).is_err()) {
        Some((tensor, file)) => Err(WeightsError::Index { tensor: tensor.clone(), file: file.clone(), index }),
        None => Ok(Opened { file: index, tensors, files }),
    }
}

fn map(paths: &[PathBuf], blamed: &Path) -> Result<MmapedSafetensors, WeightsError> {
    // One by one first, so that the file at fault is the one that is named.
    for path in paths {
        map_all(std::slice::from_ref(path))
            .map_err(|reason| WeightsError::Unreadable { file: path.clone(), reason })?;
    }
    map_all(paths).map_err(|reason| WeightsError::Unreadable { file: blamed.into(), reason })
}

fn map_all(paths: &[PathBuf]) -> Result<MmapedSafetensors, String> {
    #[expect(
        unsafe_code,
        reason = "weights are mapped, not copied: files of gigabytes, which nobody changes while they are read"
    )]
    let mapped = unsafe { MmapedSafetensors::multi(paths) };
    mapped.map_err(|error| error.to_string())
}
