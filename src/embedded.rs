//! The manifests to begin with, and the bundled pictures: part of the program, so that it needs no other file.

use std::fs;
use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::failure::Failure;

static MANIFESTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/manifests");

/// References of the mini family's world.
static POOL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/models/mini/pool");

/// Names and first lines of the manifests.
pub(crate) fn manifests() -> Vec<(String, String)> {
    let mut manifests: Vec<(String, String)> = MANIFESTS
        .files()
        .filter_map(|file| {
            let name = file.path().to_str()?.strip_suffix(".toml")?;
            let about = file.contents_utf8()?.lines().next()?.trim_start_matches("# ");
            Some((name.to_owned(), about.to_owned()))
        })
        .collect();
    manifests.sort();
    manifests
}

/// Copies the manifest called `name` to `folder`, with the files that it names. Files that are there already stay.
pub(crate) fn copy(name: &str, folder: &Path) -> Result<(), Failure> {
    let Some(manifest) = MANIFESTS.get_file(format!("{name}.toml")) else {
        let names: Vec<String> = manifests().into_iter().map(|(name, _)| name).collect();
        return Err(Failure::usage(
            format!("there is no manifest `{name}`"),
            format!("there are: {}", names.join(", ")),
        ));
    };
    write(&folder.join("cafe.toml"), manifest.contents())?;
    let text = manifest.contents_utf8().unwrap_or_default();
    // Bundled pictures go with the manifests that name them; others are for pictures of the user's own.
    if text.contains("path = \"pool\"") {
        for file in POOL.files() {
            write(&folder.join("pool").join(file.path()), file.contents())?;
        }
    }
    let wanted = |part: &str| if part == "pictures" { name == "pairs" } else { text.contains(&format!("{part}/")) };
    for part in ["templates", "adapters", "pictures"].into_iter().filter(|part| wanted(part)) {
        if let Some(dir) = MANIFESTS.get_dir(part) {
            copy_folder(dir, folder)?;
        }
    }
    Ok(())
}

fn copy_folder(dir: &Dir<'_>, folder: &Path) -> Result<(), Failure> {
    for file in dir.files() {
        write(&folder.join(file.path()), file.contents())?;
    }
    dir.dirs().try_for_each(|dir| copy_folder(dir, folder))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("cannot write {}: {error}", path.display()), "choose a folder that can be written to")
    };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}
