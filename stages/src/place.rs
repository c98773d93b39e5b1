//! Files that are made outside the tables (releases, trained weights): each under its name, durably, whatever an earlier attempt left there.

use std::io;
use std::path::Path;

use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::stage::WorkError;
use cafe_pipeline::storage::{self, Storage};

/// The end of the names of files that are being written.
const TEMPORARY: &str = ".tmp";

/// What lies under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Wanted,
    Other,
}

/// Places the files of one folder.
pub(crate) struct Placer<'a> {
    storage: &'a dyn Storage,
    /// The folder.
    folder: String,
    /// Tells our temporary files from those of another attempt, which may still be alive.
    attempt: String,
}

impl<'a> Placer<'a> {
    /// `scratch` is the attempt's own folder.
    pub(crate) fn new(storage: &'a dyn Storage, folder: String, scratch: &Path) -> Self {
        let mut attempt = Hasher::new("attempt/v1")
            .bytes("scratch", scratch.as_os_str().as_encoded_bytes())
            .number("process", std::process::id().into())
            .row_id();
        attempt.truncate(12);
        Self { storage, folder, attempt }
    }

    /// Makes `bytes` durable under `name`. A file that has them already is kept; one with other bytes is what an earlier
    /// attempt, or a fault, left behind: replaced. What `name` must hold follows from the name of the folder.
    pub(crate) fn place(&self, name: &str, bytes: &[u8]) -> Result<Digest, WorkError> {
        let path = format!("{}/{name}", self.folder);
        self.try_place(&path, bytes).map_err(|error| WorkError::io(&path, &error))
    }

    fn try_place(&self, path: &str, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let wanted = (bytes.len() as u64, digest);
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let found = self.find(path, wanted)?;
        if found != Found::Wanted {
            // A leading dot hides the file from readers of the folder.
            let temporary = format!("{folder}/.{file}.{}{TEMPORARY}", self.attempt);
            self.storage.write(&temporary, bytes)?;
            self.storage.sync(&temporary)?;
            // Nothing is removed that was not seen to be wrong: another attempt may just have put the right file there.
            if found == Found::Other {
                self.storage.remove(path)?;
            }
            match self.storage.rename(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.find(path, wanted)? != Found::Wanted {
                        return Err(error);
                    }
                    self.storage.remove(&temporary)?;
                }
                result => result?,
            }
        }
        // Also for a file that was there: its rename may not have been made durable.
        self.storage.sync_folder(folder)?;
        Ok(digest)
    }

    /// What lies under `path`, where a file of this size and digest is wanted.
    fn find(&self, path: &str, (n_bytes, digest): (u64, Digest)) -> io::Result<Found> {
        match self.storage.size(path) {
            Ok(size) if size == n_bytes => {}
            Ok(_) => return Ok(Found::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(self.storage.open(path)?)?;
        Ok(if Digest::from(hasher.finalize()) == digest { Found::Wanted } else { Found::Other })
    }

    /// The bytes of a file that is there, or `None`.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, WorkError> {
        let path = format!("{}/{name}", self.folder);
        match storage::read(self.storage, &path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WorkError::io(&path, &error)),
        }
    }

    /// Removes what killed attempts left half-written.
    pub(crate) fn clean(&self) -> Result<(), WorkError> {
        let clean = || {
            for path in self.storage.list(&self.folder)? {
                if path.ends_with(TEMPORARY) {
                    self.storage.remove(&path)?;
                }
            }
            Ok(())
        };
        clean().map_err(|error: io::Error| WorkError::io(&self.folder, &error))
    }
}
