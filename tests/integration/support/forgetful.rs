//! A file system that can lose its power: bytes that were not synced, and names whose folder was not synced, are gone
//! afterwards. SIGKILL cannot show a missing fsync, since the kernel keeps what the process wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cafe_pipeline::stage::Cancel;
use cafe_pipeline::storage::{LocalStorage, Storage};

/// What would be lost now.
#[derive(Default)]
struct Pending {
    /// File → length that is durable.
    bytes: BTreeMap<String, u64>,
    /// Names that are not durable.
    names: BTreeSet<String>,
    /// New name → old name, of renames that are not durable.
    renames: BTreeMap<String, String>,
    n_operations: u64,
    is_off: bool,
}

pub(crate) struct Forgetful {
    inner: LocalStorage,
    root: PathBuf,
    pending: Mutex<Pending>,
    /// The power goes before this operation.
    dies_at: u64,
    /// Stops the run: what comes after a power cut must not be done.
    cancel: Cancel,
    /// Whether syncing a folder does anything.
    syncs_folders: bool,
}

impl Forgetful {
    pub(crate) fn new(root: &Path, dies_at: u64, cancel: Cancel, syncs_folders: bool) -> Self {
        let inner = LocalStorage::create(root).unwrap();
        Self { inner, root: root.to_owned(), pending: Mutex::default(), dies_at, cancel, syncs_folders }
    }

    pub(crate) fn n_operations(&self) -> u64 {
        self.pending.lock().unwrap().n_operations
    }

    /// Does `operation` unless the power is gone.
    fn powered<T>(&self, operation: impl FnOnce(&mut Pending) -> io::Result<T>) -> io::Result<T> {
        let mut pending = self.pending.lock().unwrap();
        pending.n_operations += 1;
        if pending.n_operations >= self.dies_at {
            pending.is_off = true;
            self.cancel.cancel();
        }
        if pending.is_off {
            return Err(io::Error::other("the power is gone"));
        }
        operation(&mut pending)
    }

    /// Loses what was not durable.
    pub(crate) fn lose(&self) {
        let mut pending = self.pending.lock().unwrap();
        pending.is_off = true;
        for (to, from) in std::mem::take(&mut pending.renames) {
            fs::rename(self.root.join(&to), self.root.join(&from)).unwrap();
            if let Some(length) = pending.bytes.remove(&to) {
                pending.bytes.insert(from.clone(), length);
            }
        }
        for path in std::mem::take(&mut pending.names) {
            let _ = fs::remove_file(self.root.join(&path));
        }
        for (path, length) in std::mem::take(&mut pending.bytes) {
            if let Ok(file) = File::options().write(true).open(self.root.join(&path)) {
                file.set_len(length).unwrap();
            }
        }
    }

    fn length(&self, path: &str) -> u64 {
        fs::metadata(self.root.join(path)).map_or(0, |metadata| metadata.len())
    }
}

impl Storage for Forgetful {
    fn root(&self) -> &Path {
        self.inner.root()
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.powered(|pending| {
            pending.names.insert(path.to_owned());
            pending.bytes.insert(path.to_owned(), 0);
            self.inner.write(path, bytes)
        })
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.powered(|pending| {
            if !self.root.join(path).is_file() {
                pending.names.insert(path.to_owned());
            }
            let length = self.length(path);
            pending.bytes.entry(path.to_owned()).or_insert(length);
            self.inner.append(path, bytes)
        })
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.powered(|pending| {
            pending.bytes.remove(path);
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.powered(|pending| {
            self.inner.rename(from, to)?;
            if let Some(length) = pending.bytes.remove(from) {
                pending.bytes.insert(to.to_owned(), length);
            }
            pending.renames.insert(to.to_owned(), from.to_owned());
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.powered(|pending| {
            if self.syncs_folders {
                let inside = |path: &String| path.rsplit_once('/').map_or("", |(parent, _)| parent) == folder;
                let renamed: Vec<String> =
                    pending.renames.iter().filter(|(to, _)| inside(to)).map(|(_, from)| from.clone()).collect();
                pending.renames.retain(|to, _| !inside(to));
                pending.names.retain(|name| !inside(name) && !renamed.contains(name));
            }
            Ok(())
        })
    }

    fn open(&self, path: &str) -> io::Result<File> {
        self.powered(|_| self.inner.open(path))
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        self.powered(|_| self.inner.size(path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.powered(|_| self.inner.remove(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.powered(|_| self.inner.list(folder))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}
