//! The family that is part of the program: unpacked once into the cache, since models are read from folders.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Hasher;
use include_dir::{Dir, include_dir};

use crate::failure::Failure;

static FAMILY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/models/mini/family");

/// The folder of the family below `cache`. Its name holds the digest of its files, and it appears whole, in one step.
pub(super) fn unpack(cache: &Path) -> Result<PathBuf, Failure> {
    let files = files(&FAMILY);
    let hashed = files
        .iter()
        .fold(Hasher::new("bundled family/v1"), |hasher, (path, bytes)| hasher.bytes(&path.to_string_lossy(), bytes));
    let name = format!("mini-{}", hashed.digest().to_hex().get(..16).unwrap_or_default());
    let folder = cache.join("bundled").join(name);
    if !folder.is_dir() {
        write(&folder, &files).map_err(|error| {
            let message = format!("cannot unpack the bundled models into {}: {error}", folder.display());
            Failure::usage(message, "name a folder that can be written to by CAFE_MODELS")
        })?;
    }
    Ok(folder)
}

/// All files below `dir`, in the order of their paths.
fn files(dir: &Dir<'static>) -> Vec<(&'static Path, &'static [u8])> {
    let own = dir.files().map(|file| (file.path(), file.contents()));
    let mut all: Vec<_> = own.chain(dir.dirs().flat_map(files)).collect();
    all.sort();
    all
}

fn write(folder: &Path, files: &[(&Path, &[u8])]) -> std::io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent)?;
    let partial = tempfile::Builder::new().prefix(".mini-").tempdir_in(parent)?;
    for (path, bytes) in files {
        let path = partial.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    match fs::rename(partial.path(), folder) {
        // Another process was faster: its files are the same.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            // What is left of the temporary folder is the name that it had.
            let _ = partial.keep();
            File::open(parent)?.sync_all()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unpacked_once_and_whole() {
        let cache = tempfile::tempdir().unwrap();
        let folder = unpack(cache.path()).unwrap();
        assert!(folder.join("clip_filter").join("model.safetensors").is_file());
        let written = || fs::metadata(folder.join("clip_filter").join("config.json")).unwrap().modified().unwrap();
        let first = written();
        assert_eq!(unpack(cache.path()).unwrap(), folder);
        assert_eq!(written(), first);
        let names: Vec<_> = fs::read_dir(cache.path().join("bundled")).unwrap().collect();
        assert_eq!(names.len(), 1);
    }
}
