//! Pictures in folders.

use std::path::{Path, PathBuf};

use cafe_pipeline::stage::{ErrorClass, WorkError};
use walkdir::WalkDir;

use super::labels::{self, Sidecar};
use super::{Found, check, unreadable, wrong};
use crate::picture::{Fault, Limits};

/// Names under which labels are looked for.
const METADATA: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

/// What to list.
pub(super) struct Listing<'a> {
    pub(super) root: PathBuf,
    pub(super) extensions: &'a [String],
    pub(super) metadata: Option<PathBuf>,
    pub(super) class_from_folder: bool,
    pub(super) subject_from_folder: bool,
}

impl Listing<'_> {
    /// The pictures by path, and those that the metadata names but are not there.
    pub(super) fn list(&self) -> Result<Vec<Found>, WorkError> {
        let (name, mut sidecar) = self.sidecar()?;
        let mut found = Vec::new();
        let files = WalkDir::new(&self.root).follow_links(true).sort_by_file_name();
        let is_hidden =
            |entry: &walkdir::DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
        for entry in files.into_iter().filter_entry(|entry| !is_hidden(entry)) {
            let entry = entry.map_err(|error| wrong(format!("cannot list {}: {error}", self.root.display())))?;
            if !entry.file_type().is_file() || !self.is_picture(entry.path()) {
                continue;
            }
            let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
            let path = path.to_str().ok_or_else(|| {
                wrong(format!("the name of {} is not UTF-8: rename the file", entry.path().display()))
            })?;
            let n_bytes = entry.metadata().map_err(|error| wrong(error.to_string()))?.len();
            let labels = sidecar.remove(path).unwrap_or_default();
            found.push(self.found(path, Some(n_bytes), labels, None));
        }
        for (path, labels) in sidecar {
            let fault = format!("{name} names it, but there is no such picture");
            found.push(self.found(&path, None, labels, Some(fault)));
        }
        // The walk's order is by folder; this one survives moves of the walk's internals.
        found.sort_by(|one, other| one.key.cmp(&other.key));
        if found.is_empty() {
            let endings = self.extensions.join(", ");
            return Err(wrong(format!("{} holds no picture ({endings})", self.root.display())));
        }
        Ok(found)
    }

    fn is_picture(&self, path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        self.extensions.iter().any(|wanted| wanted.eq_ignore_ascii_case(extension))
    }

    fn sidecar(&self) -> Result<(String, Sidecar), WorkError> {
        let path = match &self.metadata {
            Some(path) => Some(path.clone()),
            None => METADATA.iter().map(|name| self.root.join(name)).find(|path| path.is_file()),
        };
        let Some(path) = path else { return Ok((String::new(), Sidecar::new())) };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((name, labels::read(&path)?))
    }

    fn found(&self, path: &str, n_bytes: Option<u64>, mut labels: super::Labels, fault: Option<String>) -> Found {
        let folder = Path::new(path).parent().and_then(Path::file_name).and_then(|name| name.to_str());
        if let Some(folder) = folder.filter(|_| self.class_from_folder) {
            labels.set("class", folder);
        }
        if let Some(folder) = folder.filter(|_| self.subject_from_folder) {
            labels.set("subject_id", folder);
        }
        Found { key: path.to_owned(), file: path.to_owned(), offset: 0, n_bytes, labels, version: None, fault }
    }
}

/// The bytes of a picture.
pub(super) fn read(root: &Path, found: &Found, limits: &Limits) -> Result<Vec<u8>, Fault> {
    check(found, limits)?;
    let bytes = std::fs::read(root.join(&found.file)).map_err(|error| unreadable(&error))?;
    match found.n_bytes {
        Some(n_bytes) if n_bytes != bytes.len() as u64 => {
            let message = format!("had {n_bytes} bytes when it was listed, and has {} now: run it again", bytes.len());
            Err(Fault::new(ErrorClass::Unreadable, message))
        }
        _ => Ok(bytes),
    }
}
