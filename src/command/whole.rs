//! Files that a person asked for, written in one step, and the turn of who changes one.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cafe_pipeline::failpoint::{FailPoint, try_pass};

use crate::failure::Failure;

/// Writes `text` to `path`: whoever reads it meanwhile sees what was there, or all of it, and what was written outlives a power
/// cut. `help` says what to do where that fails.
pub(super) fn write(path: &Path, text: &str, help: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot_write(path, &error, help);
    let folder = folder(path);
    try_pass(FailPoint::FileWriting).map_err(failed)?;
    let mut file = tempfile::Builder::new().prefix(&hidden(path, PARTIAL)).tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    readable(file.as_file()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    try_pass(FailPoint::FileRenaming).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    try_pass(FailPoint::FileRenamed).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// The right to read a file, change it and write it: one process has it at a time. It ends with its process.
pub(super) struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Turn {
    /// Waits for it. What a killed process left beside the file is cleared away.
    pub(super) fn wait(path: &Path, on_wait: impl FnOnce()) -> Result<Self, Failure> {
        // A link stays a link, and its end is what is changed: others may have links to it, too.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let failed = |error: io::Error| cannot_write(&path, &error, "");
        // The file itself is no good for a lock: it is another one after each change.
        let lock = folder(&path).join(hidden(&path, LOCK));
        let lock = File::options().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_wait();
                lock.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        clear(&path).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// The file, all links followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The end of the name of a file that is not whole yet; something random follows.
const PARTIAL: &str = ".cafe-data-";
/// The end of the name of a lock.
const LOCK: &str = ".lock";

/// A hidden name beside `path`.
fn hidden(path: &Path, end: &str) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(end);
    name
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what was to become `path`, and never did.
fn clear(path: &Path) -> io::Result<()> {
    let prefix = hidden(path, PARTIAL);
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error, help: &str) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()), help)
}

/// Temporary files are for their owner only; what a person asked for is for others, too.
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}
