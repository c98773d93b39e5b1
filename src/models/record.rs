//! What is known of a fetched model: written into its folder, last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Known;

/// No file of a model begins with a dot, so that this is none.
const NAME: &str = ".cafe-model.json";

/// What is known of a fetched model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its name when it was fetched.
    pub(crate) name: String,
    /// Where it came from, in words.
    pub(crate) source: String,
    /// The files that were brought.
    pub(crate) brought: Vec<Known>,
    /// The files in the folder: others, where the brought ones were prepared.
    pub(crate) files: Vec<Known>,
}

impl Record {
    /// Reads that of `folder`; `None` where there is none, or a damaged one: the model is then fetched again.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(NAME)).ok()?).ok()
    }

    /// Writes it durably.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut file = File::create(folder.join(NAME))?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()
    }

    /// Takes it away: what is in `folder` is not to be used, and is fetched again.
    pub(crate) fn remove(folder: &Path) -> io::Result<()> {
        fs::remove_file(folder.join(NAME))
    }

    /// Whether all files are there, with their sizes.
    pub(crate) fn fits(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| {
            folder.join(&file.path).metadata().is_ok_and(|found| found.is_file() && found.len() == file.bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_fits_its_record_until_a_file_is_gone_or_cut() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("a"), "abc").unwrap();
        let files = vec![Known { path: "a".to_owned(), sha256: String::new(), bytes: 3 }];
        let record = Record { name: "x".to_owned(), source: "y".to_owned(), brought: files.clone(), files };
        record.write(folder).unwrap();
        assert_eq!(Record::read(folder), Some(record.clone()));
        assert!(record.fits(folder));
        fs::write(folder.join("a"), "ab").unwrap();
        assert!(!record.fits(folder));
        Record::remove(folder).unwrap();
        assert_eq!(Record::read(folder), None);
    }
}
