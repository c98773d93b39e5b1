//! The folder of an export: filled under a hidden name beside its place, and renamed when it is whole and durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use cafe_pipeline::failpoint::{FailPoint, try_pass};
use sha2::{Digest, Sha256};

use super::ExportError;

/// The list of digests.
const SUMS: &str = "SHA256SUMS";
/// The end of the hidden name.
const PARTIAL: &str = ".cafe-export";

/// A folder that is being filled. What is in it goes when it is dropped before its end.
pub(super) struct Folder {
    place: PathBuf,
    /// Where it is filled.
    partial: PathBuf,
    /// Folders below, which have to be synced.
    folders: BTreeSet<PathBuf>,
    /// Path → SHA-256.
    sums: BTreeMap<String, String>,
    is_whole: bool,
    /// Of the folder itself: it ends with the process.
    _lock: File,
}

impl Folder {
    /// Begins to fill a folder for `output`. What a killed export left there is cleared away.
    pub(super) fn begin(output: &Path) -> Result<Self, ExportError> {
        let place = free(output)?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(taken(output, "has no name that a folder could get"));
        };
        fs::create_dir_all(parent).map_err(ExportError::at(parent))?;
        if place.is_dir() && device(&place)? != device(parent)? {
            return Err(taken(output, "is where another file system is mounted: name a folder in it"));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(PARTIAL);
        let partial = parent.join(hidden);
        let failed = ExportError::at(&partial);
        match fs::create_dir(&partial) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let lock = File::open(&partial).map_err(&failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ExportError::Busy(output.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        clear(&partial).map_err(&failed)?;
        let (folders, sums) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { place, partial, folders, sums, is_whole: false, _lock: lock })
    }

    /// A new file at `path`, which is relative and has no `..` in it.
    pub(super) fn create(&mut self, path: &str) -> Result<Writing, ExportError> {
        let place = self.partial.join(path);
        let failed = ExportError::at(&place);
        try_pass(FailPoint::ExportWriting).map_err(&failed)?;
        if let Some(folder) = place.parent().filter(|folder| *folder != self.partial) {
            fs::create_dir_all(folder).map_err(ExportError::at(folder))?;
            self.folders.insert(folder.to_owned());
        }
        let file = BufWriter::new(File::create_new(&place).map_err(&failed)?);
        Ok(Writing { path: path.to_owned(), place, file, hasher: Sha256::new() })
    }

    /// Makes the bytes of a file durable.
    pub(super) fn end(&mut self, writing: Writing) -> Result<(), ExportError> {
        let Writing { path, place, file, hasher } = writing;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(ExportError::at(&place))?;
        self.sums.insert(path, hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        Ok(())
    }

    /// A file with these bytes.
    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let mut writing = self.create(path)?;
        writing.put(bytes)?;
        self.end(writing)
    }

    /// Gives the folder its name.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        let list: String = self.sums.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect();
        self.put(SUMS, list.as_bytes())?;
        self.folders.iter().chain([&self.partial]).try_for_each(|folder| sync(folder))?;
        let failed = ExportError::at(&self.place);
        try_pass(FailPoint::ExportRenaming).map_err(&failed)?;
        // An empty folder is replaced; one that was filled meanwhile is not.
        match fs::rename(&self.partial, &self.place) {
            Ok(()) => self.is_whole = true,
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                return Err(taken(&self.place, "is not empty any more"));
            }
            Err(error) => return Err(failed(error)),
        }
        try_pass(FailPoint::ExportRenamed).map_err(&failed)?;
        self.place.parent().map_or(Ok(()), sync)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_whole
            && let Err(error) = fs::remove_dir_all(&self.partial)
        {
            tracing::warn!("cannot remove {}: {error}", self.partial.display());
        }
    }
}

/// A file of the folder that is being written.
pub(super) struct Writing {
    path: String,
    place: PathBuf,
    file: BufWriter<File>,
    hasher: Sha256,
}

impl Writing {
    /// Where it is.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Appends bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let failed = ExportError::at(&self.place);
        self.write_all(bytes).map_err(failed)
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..n_written).unwrap_or_default());
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The place of `output`, where there is nothing, or an empty folder. A link is followed: it stays, and its end is filled.
fn free(output: &Path) -> Result<PathBuf, ExportError> {
    let place = match output.canonicalize() {
        Ok(place) => place,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if output.is_symlink() {
                return Err(taken(output, "is a link to nothing"));
            }
            return absolute(output).map_err(ExportError::at(output));
        }
        Err(error) => return Err(ExportError::at(output)(error)),
    };
    match fs::read_dir(&place).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(place),
        Ok(false) => Err(taken(output, "is not empty")),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(taken(output, "is not a folder")),
        Err(error) => Err(ExportError::at(output)(error)),
    }
}

fn taken(path: &Path, what: &'static str) -> ExportError {
    ExportError::Taken { path: path.to_owned(), what }
}

fn device(folder: &Path) -> Result<u64, ExportError> {
    Ok(fs::metadata(folder).map_err(ExportError::at(folder))?.dev())
}

fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), ExportError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(ExportError::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<OsString> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_whole_with_its_digests() {
        let root = tempfile::tempdir().unwrap();
        let output = root.path().join("new/set");
        let mut folder = Folder::begin(&output).unwrap();
        folder.put("data/a", b"abc").unwrap();
        assert!(!output.is_dir());
        folder.finish().unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fs::read_to_string(output.join(SUMS)).unwrap(), format!("{abc}  data/a\n"));
        assert_eq!(names(&root.path().join("new")), ["set"]);
    }

    #[test]
    fn what_a_killed_export_left_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let output = root.path().join("set");
        let left = root.path().join(".set.cafe-export");
        fs::create_dir_all(left.join("data")).unwrap();
        fs::write(left.join("data/half"), "x").unwrap();
        fs::create_dir(&output).unwrap();
        let mut folder = Folder::begin(&output).unwrap();
        folder.put("a", b"").unwrap();
        folder.finish().unwrap();
        assert_eq!(names(&output), [SUMS, "a"]);
        assert_eq!(names(root.path()), ["set"]);
    }

    #[test]
    fn one_that_is_given_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = Folder::begin(&root.path().join("set")).unwrap();
        folder.put("a", b"a").unwrap();
        drop(folder);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn places_that_are_taken_are_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let refused = |output: &Path| Folder::begin(output).err().unwrap().to_string();
        fs::create_dir(path("full")).unwrap();
        fs::write(path("full/a"), "a").unwrap();
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        let before = names(root.path());
        assert!(refused(&path("full")).ends_with("it is not empty"));
        assert!(refused(&path("full/a")).ends_with("it is not a folder"));
        assert!(refused(&path("link")).ends_with("it is a link to nothing"));
        assert_eq!(names(root.path()), before);

        let busy = Folder::begin(&path("set")).unwrap();
        assert!(refused(&path("set")).ends_with("another export to it is running"));
        fs::create_dir(path("set")).unwrap();
        fs::write(path("set/theirs"), "a").unwrap();
        assert!(busy.finish().unwrap_err().to_string().ends_with("it is not empty any more"));
        assert_eq!(names(&path("set")), ["theirs"]);
        assert!(!path(".set.cafe-export").is_dir());
    }
}
