//! A model that is put together: files on their way, files that are there, and files copied from a folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cafe_pipeline::manifest::ModelFile;
use cafe_pipeline::stage::Cancel;

use super::digest::{self, Known};
use super::trouble::Trouble;
use crate::progress::Transfer;

/// The folder in which a model is put together. Its lock is held.
pub(super) struct Work<'a> {
    pub(super) folder: PathBuf,
    pub(super) cancel: &'a Cancel,
    pub(super) shown: &'a Transfer,
}

impl Work<'_> {
    /// Where files are that were found to be right.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Where a file is while it comes.
    pub(super) fn part(&self, file: &ModelFile) -> Result<PathBuf, Trouble> {
        placed(self.folder.join("parts").join(&file.path))
    }

    /// Where it is noted which version of a file the part is of.
    pub(super) fn etag(&self, file: &ModelFile) -> Result<PathBuf, Trouble> {
        placed(self.folder.join("etags").join(&file.path))
    }

    /// The file, if it is there and right.
    pub(super) fn have(&self, file: &ModelFile) -> Result<Option<Known>, Trouble> {
        let files = self.files();
        if !files.join(&file.path).is_file() {
            return Ok(None);
        }
        self.shown.begin("checking", &file.path);
        let known = digest::of_file(&files, &file.path, self.cancel)?;
        Ok(mistake(file, &known).is_none().then_some(known))
    }

    /// Takes the part of a file for the whole, if it is right. What is wrong is thrown away.
    pub(super) fn accept(&self, file: &ModelFile) -> Result<Known, Trouble> {
        self.shown.begin("checking", &file.path);
        let part = self.part(file)?;
        let failed = Trouble::at(&part);
        let known = digest::of_file(&self.folder.join("parts"), &file.path, self.cancel)?;
        let _ = fs::remove_file(self.etag(file)?);
        if let Some(mistake) = mistake(file, &known) {
            fs::remove_file(&part).map_err(failed)?;
            return Err(Trouble::Lasting(mistake));
        }
        // The digest was of what was written: it must be on the disk before it has its name.
        File::open(&part).and_then(|file| file.sync_all()).map_err(&failed)?;
        fs::rename(&part, placed(self.files().join(&file.path))?).map_err(failed)?;
        Ok(known)
    }

    /// Copies at most `limit` bytes of `from` to the part of `file`; whether that was all.
    pub(super) fn copy(
        &self,
        from: &mut impl Read,
        file: &ModelFile,
        total: Option<u64>,
        limit: u64,
    ) -> Result<bool, Trouble> {
        let part = self.part(file)?;
        let failed = Trouble::at(&part);
        let mut to = File::create(&part).map_err(&failed)?;
        let mut buffer = vec![0; 1 << 20];
        let mut n_bytes = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            let read = from.read(&mut buffer);
            let chunk = match read {
                Ok(n_read) => buffer.get(..n_read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Lasting(format!("{} cannot be read: {error}", file.path))),
            };
            n_bytes += chunk.len() as u64;
            if chunk.is_empty() {
                return Ok(true);
            }
            if n_bytes > limit {
                return Ok(false);
            }
            to.write_all(chunk).map_err(&failed)?;
            self.shown.at(n_bytes, total);
        }
    }
}

/// Copies the files of a model from `folder`.
pub(super) fn bring(folder: &Path, files: &[ModelFile], work: &Work<'_>) -> Result<Vec<Known>, Trouble> {
    if !folder.is_dir() {
        return Err(Trouble::Lasting(format!("there is no folder {}", folder.display())));
    }
    let one = |file: &ModelFile| {
        if let Some(known) = work.have(file)? {
            return Ok(known);
        }
        let path = folder.join(&file.path);
        let unreadable = |error: io::Error| Trouble::Lasting(format!("{}: {error}", path.display()));
        let mut from = File::open(&path).map_err(unreadable)?;
        let n_bytes = from.metadata().map_err(unreadable)?.len();
        work.shown.begin("copying", &file.path);
        work.copy(&mut from, file, Some(n_bytes), u64::MAX)?;
        work.accept(file)
    };
    files.iter().map(one).collect()
}

/// What is wrong with a file.
pub(super) fn mistake(file: &ModelFile, known: &Known) -> Option<String> {
    if let Some(bytes) = file.bytes.filter(|bytes| *bytes != known.bytes) {
        return Some(format!("{} has {} bytes, where {bytes} are pinned", file.path, known.bytes));
    }
    let sha256 = file.sha256.as_ref().filter(|sha256| **sha256 != known.sha256)?;
    Some(format!("{} is another file: its SHA-256 is {}, where {sha256} is pinned", file.path, known.sha256))
}

/// `path`, in a folder that is there.
fn placed(path: PathBuf) -> Result<PathBuf, Trouble> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Trouble::at(folder))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::transfer;

    fn file(path: &str, sha256: &str) -> ModelFile {
        ModelFile { path: path.to_owned(), sha256: Some(sha256.to_owned()), bytes: None }
    }

    #[test]
    fn what_is_wrong_is_thrown_away_and_what_is_right_is_kept() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("unet")).unwrap();
        fs::write(from.path().join("unet/a"), "abc").unwrap();
        let (cancel, shown) = (Cancel::default(), transfer());
        let work = Work { folder: to.path().join("x"), cancel: &cancel, shown: &shown };
        let wrong = file("unet/a", &"0".repeat(64));
        let Err(Trouble::Lasting(said)) = bring(from.path(), std::slice::from_ref(&wrong), &work) else { panic!() };
        assert!(said.contains("unet/a is another file") && said.contains("ba7816bf"), "{said}");
        assert!(!work.part(&wrong).unwrap().is_file() && work.have(&wrong).unwrap().is_none());

        let right = file("unet/a", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let known = bring(from.path(), std::slice::from_ref(&right), &work).unwrap();
        assert_eq!(work.have(&right).unwrap().as_ref(), known.first());
        // What was found right is not brought again.
        fs::remove_file(from.path().join("unet/a")).unwrap();
        bring(from.path(), std::slice::from_ref(&right), &work).unwrap();
        fs::write(work.files().join("unet/a"), "abd").unwrap();
        assert!(matches!(bring(from.path(), &[right], &work), Err(Trouble::Lasting(_))));
    }
}
