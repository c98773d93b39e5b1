//! The folder of fetched models, which projects and processes share.
//!
//!     NAME-DIGEST/          a model, whole: it gets this name in one step
//!     partial/NAME-DIGEST/  one that is being fetched; what is there is gone on with
//!     locks/                who holds one fetches
//!     wheels/               wheels that were brought by hand
//!
//! DIGEST is of what the declaration pins, so that two manifests may mean different models by one name. A model without pins
//! has a name of its own, a link to what it turned out to be: the name that the same model gets once it is pinned.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use cafe_pipeline::manifest::{ModelDecl, ModelFile, Prepare};
use cafe_pipeline::stage::Cancel;
use serde_json::json;

use super::digest::{Known, of_text};
use super::record::Record;
use super::trouble::Trouble;
use super::{Model, digest};
use crate::failure::Failure;

/// So often a lock is asked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// To be raised when conversion makes other bytes.
const GGUF_VERSION: u32 = 1;

/// The folder of fetched models.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a folder of the user's.
    Own(PathBuf),
    /// In the cache.
    Fetched(PathBuf),
    /// Only some bytes of it are.
    Partly(u64),
    /// Nowhere.
    Absent,
}

impl Place {
    /// The folder, where the model can be used.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Own(folder) | Self::Fetched(folder) => Some(folder),
            Self::Partly(_) | Self::Absent => None,
        }
    }
}

/// While it lives, no other process fetches the model.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is the file's")] File);

impl Cache {
    /// The folder `root`, or else the user's.
    pub(crate) fn open(root: Option<&Path>) -> Result<Self, Failure> {
        if let Some(root) = root {
            return Ok(Self { root: root.to_owned() });
        }
        let set = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let user = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let user = user.ok_or_else(|| {
            Failure::usage("neither XDG_CACHE_HOME nor HOME is set, so models have no place", "name one by --cache")
        })?;
        Ok(Self { root: user.join("cafe-data").join("models") })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the model is.
    pub(crate) fn place(&self, model: &Model) -> Place {
        if model.decl.prepare.is_none() {
            let has = |folder: &Path, file: &ModelFile| {
                let found = folder.join(&file.path).metadata();
                found.is_ok_and(|found| found.is_file() && file.bytes.is_none_or(|bytes| bytes == found.len()))
            };
            let mut own = model.paths();
            let own = own.find(|path| path.is_dir() && model.decl.files.iter().all(|file| has(path, file)));
            if let Some(own) = own {
                return Place::Own(own);
            }
        }
        let key = key(model);
        let folder = self.root.join(&key);
        if Record::read(&folder).is_some_and(|record| record.fits(&folder)) {
            return Place::Fetched(folder.canonicalize().unwrap_or(folder));
        }
        match size(&self.partial(&key)) {
            0 => Place::Absent,
            n_bytes => Place::Partly(n_bytes),
        }
    }

    /// Where a model is put together.
    pub(super) fn partial(&self, key: &str) -> PathBuf {
        self.root.join("partial").join(key)
    }

    /// Waits until no other process fetches what has this key.
    pub(super) fn lock(&self, key: &str, cancel: &Cancel, on_wait: impl FnOnce()) -> Result<Lock, Trouble> {
        let folder = self.root.join("locks");
        fs::create_dir_all(&folder).map_err(Trouble::at(&folder))?;
        let path = folder.join(format!("{key}.lock"));
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(Trouble::at(&path))?;
        let mut on_wait = Some(on_wait);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Trouble::at(&path)(error)),
            }
            if let Some(on_wait) = on_wait.take() {
                on_wait();
            }
            if cancel.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            sleep(PATIENCE);
        }
    }

    /// Gives the whole model in `made` its name; the folder it is in now. The key's lock is held.
    pub(super) fn install(&self, model: &Model, made: &Path, record: &Record) -> Result<PathBuf, Trouble> {
        for file in &record.files {
            sync(&made.join(&file.path))?;
        }
        folders_of(made, &record.files).iter().try_for_each(|folder| sync(folder))?;
        record.write(made).map_err(Trouble::at(made))?;
        sync(made)?;
        let (wanted, name) = (key(model), pinned_key(model, &record.brought));
        let folder = self.root.join(&name);
        let fits = Record::read(&folder).is_some_and(|record| record.fits(&folder));
        if wanted == name || !fits {
            self.replace(made, &folder)?;
        }
        if wanted != name {
            // Under another name first: a link cannot be replaced in place.
            let (link, new) = (self.root.join(&wanted), self.partial(&format!("{wanted}.link")));
            let _ = fs::remove_file(&new);
            std::os::unix::fs::symlink(&name, &new).map_err(Trouble::at(&new))?;
            fs::rename(&new, &link).map_err(Trouble::at(&link))?;
        }
        sync(&self.root)?;
        folder.canonicalize().map_err(Trouble::at(&folder))
    }

    /// Moves `made` to `folder`; what is there is damaged.
    fn replace(&self, made: &Path, folder: &Path) -> Result<(), Trouble> {
        let failed = Trouble::at(folder);
        let damaged = self.partial(&format!("damaged-{}", std::process::id()));
        let _ = fs::remove_dir_all(&damaged);
        match fs::rename(folder, &damaged) {
            Ok(()) => fs::rename(made, folder).and_then(|()| fs::remove_dir_all(&damaged)).map_err(failed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs::rename(made, folder).map_err(failed),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The name of the model's folder.
pub(super) fn key(model: &Model) -> String {
    let pins: Vec<_> = model.decl.files.iter().map(|file| (file.path.as_str(), file.sha256.as_deref())).collect();
    let is_pinned = pins.iter().all(|(_, sha256)| sha256.is_some());
    // What is not pinned is known by where it comes from.
    let sources = if is_pinned { json!([]) } else { json!(model.decl.sources) };
    name(&model.name, &model.decl, pins, sources)
}

/// The same, of what the model turned out to be.
fn pinned_key(model: &Model, brought: &[Known]) -> String {
    let pins = brought.iter().map(|file| (file.path.as_str(), Some(file.sha256.as_str()))).collect();
    name(&model.name, &model.decl, pins, json!([]))
}

fn name(name: &str, decl: &ModelDecl, mut pins: Vec<(&str, Option<&str>)>, sources: serde_json::Value) -> String {
    pins.sort_unstable();
    let digest = of_text(&json!([pins, prepared(decl.prepare), sources]).to_string());
    format!("{name}-{}", digest.get(..12).unwrap_or_default())
}

/// What is done with the files, and in which version.
pub(super) fn prepared(prepare: Option<Prepare>) -> serde_json::Value {
    match prepare {
        Some(Prepare::Gguf) => json!({ "gguf": GGUF_VERSION }),
        None => json!(null),
    }
}

fn folders_of(made: &Path, files: &[digest::Known]) -> Vec<PathBuf> {
    let parents = files.iter().flat_map(|file| Path::new(&file.path).ancestors().skip(1));
    let mut folders: Vec<PathBuf> = parents.map(|parent| made.join(parent)).collect();
    folders.sort_unstable();
    folders.dedup();
    folders
}

fn sync(path: &Path) -> Result<(), Trouble> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Trouble::at(path))
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
