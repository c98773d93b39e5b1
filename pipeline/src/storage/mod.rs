//! Files of a project: write-once, durable, named relative to one root. A trait, because a test double that forgets
//! what was not synced, and object stores, come behind it.

mod local;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use local::LocalStorage;
pub use write::{StoredFile, write_once};

/// The bytes of a file.
///
/// # Errors
/// Of the file system.
pub fn read(storage: &dyn Storage, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    storage.open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The operations on which durability rests, one by one, so that a double can lose what was not synced.
/// Paths are relative to the root, with `/`.
pub trait Storage: Send + Sync {
    /// The root folder.
    fn root(&self) -> &Path;

    /// Creates or replaces the file at `path`, and its folders. Neither is durable yet.
    ///
    /// # Errors
    /// Of the file system.
    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Appends to the file at `path`, creating it and its folders. Not durable yet.
    ///
    /// # Errors
    /// Of the file system.
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes the bytes of a file durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync(&self, path: &str) -> io::Result<()>;

    /// Renames a file; fails with [`io::ErrorKind::AlreadyExists`] where `to` is taken. Durable after
    /// [`Self::sync_folder`].
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Of the file system.
    fn open(&self, path: &str) -> io::Result<File>;

    /// The size of a file in bytes.
    ///
    /// # Errors
    /// Of the file system.
    fn size(&self, path: &str) -> io::Result<u64>;

    /// Removes a file; a missing one is no error.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The files below a folder, sorted; a missing folder has none.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Bytes free for the project.
    ///
    /// # Errors
    /// Of the file system.
    fn free_bytes(&self) -> io::Result<u64>;
}
