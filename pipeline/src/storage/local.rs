//! Files below a folder of a local or shared file system.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags};

use super::Storage;

/// Files below a folder.
pub struct LocalStorage {
    root: PathBuf,
    folder_syncs: Mutex<HashMap<PathBuf, Arc<FolderSync>>>,
}

/// Lets many threads that want the same folder synced share one fsync: who arrives while one is running waits for the
/// next, which then covers all who wait.
#[derive(Default)]
struct FolderSync {
    state: Mutex<FolderSyncState>,
    changed: Condvar,
}

#[derive(Default)]
struct FolderSyncState {
    running: bool,
    n_started: u64,
    n_finished: u64,
}

impl LocalStorage {
    /// Creates the folder where it is missing.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root: root.canonicalize()?, folder_syncs: Mutex::default() })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl FolderSync {
    /// Returns once an fsync that began after this call has ended.
    fn sync(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The sync running now may have begun before our rename; the one after it did not.
        let wanted = state.n_started + 1;
        loop {
            if state.n_finished >= wanted {
                return Ok(());
            }
            if !state.running {
                state.running = true;
                state.n_started += 1;
                let mine = state.n_started;
                drop(state);
                let result = File::open(folder).and_then(|folder| folder.sync_all());
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.running = false;
                if result.is_ok() {
                    state.n_finished = mine;
                }
                self.changed.notify_all();
                result?;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Storage for LocalStorage {
    fn root(&self) -> &Path {
        &self.root
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(path);
        match fs::write(&path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    create_folder_durably(folder)?;
                }
                fs::write(&path, bytes)
            }
            result => result,
        }
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(path);
        if let Some(folder) = path.parent() {
            create_folder_durably(folder)?;
        }
        OpenOptions::new().append(true).create(true).open(&path)?.write_all(bytes)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            // Some file systems cannot rename without clobber; a hard link refuses an existing name as well.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::hard_link(&from, &to)?;
                fs::remove_file(&from)
            }
            result => result.map_err(Into::into),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let folder = self.path(folder);
        let sync = {
            let mut syncs = self.folder_syncs.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(syncs.entry(folder.clone()).or_default())
        };
        sync.sync(&folder)
    }

    fn open(&self, path: &str) -> io::Result<File> {
        File::open(self.path(path))
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(path))?.len())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if let Ok(relative) = path.strip_prefix(&self.root) {
                    files.push(relative.to_string_lossy().into_owned());
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Creates a folder and makes its name, and those of its new parents, durable.
fn create_folder_durably(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder_durably(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(parent) = parent {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_renames_and_never_clobbers() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::create(folder.path()).unwrap();
        storage.write("a/b/one.tmp", b"one").unwrap();
        storage.rename("a/b/one.tmp", "a/b/one").unwrap();
        storage.sync_folder("a/b").unwrap();
        storage.write("a/b/two.tmp", b"two").unwrap();
        let error = storage.rename("a/b/two.tmp", "a/b/one").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(storage.list("a").unwrap(), ["a/b/one", "a/b/two.tmp"]);
        assert_eq!(storage.size("a/b/one").unwrap(), 3);
    }

    #[test]
    fn concurrent_folder_syncs_all_return() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::create(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let storage = &storage;
                scope.spawn(move || {
                    for file in 0..20 {
                        storage.write(&format!("s/{thread}-{file}"), b"x").unwrap();
                        storage.sync_folder("s").unwrap();
                    }
                });
            }
        });
        assert_eq!(storage.list("s").unwrap().len(), 160);
    }
}
