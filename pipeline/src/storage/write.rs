//! The one way in which a file of the dataset comes into being.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Storage;
use crate::digest::Digest;
use crate::failpoint::{FailPoint, try_pass};

/// A file that is durable under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Relative to the storage root.
    pub path: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Its size.
    pub n_bytes: u64,
}

/// Writes `bytes` under `path`, which nobody else writes: temporary file → fsync → rename without clobber → fsync of
/// the folder. After a return without error, a power cut loses nothing of it; before, nothing under `path` is seen.
///
/// # Errors
/// Of the file system; [`io::ErrorKind::AlreadyExists`] where `path` exists with other bytes.
pub fn write_once(storage: &dyn Storage, path: &str, bytes: &[u8]) -> io::Result<StoredFile> {
    // Processes may write the same listing at the same time, and each must rename its own file.
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let temporary = format!("{path}.{}-{at:x}.tmp", std::process::id());
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    try_pass(FailPoint::ShardWriting)?;
    storage.write(&temporary, bytes)?;
    try_pass(FailPoint::ShardWritten)?;
    storage.sync(&temporary)?;
    try_pass(FailPoint::ShardSynced)?;
    storage.rename(&temporary, path)?;
    try_pass(FailPoint::ShardRenamed)?;
    storage.sync_folder(folder)?;
    try_pass(FailPoint::DirectorySynced)?;
    Ok(StoredFile { path: path.to_owned(), digest: Digest::of(bytes), n_bytes: bytes.len() as u64 })
}
