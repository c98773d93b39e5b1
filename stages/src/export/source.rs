//! The release that is exported: its files as they were published, and their rows a window at a time.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};

use cafe_pipeline::catalog::ReleaseRecord;
use cafe_pipeline::digest::Digest;
use cafe_pipeline::frame;
use cafe_pipeline::release::RELEASE_JSON;
use polars::prelude::DataFrame;

use super::{Export, ExportError};
use crate::publish::{Described, FileRecord};

/// Rows read at once: few enough for their pixels to fit into memory.
const WINDOW_ROWS: usize = 128;
/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// An open release.
pub(super) struct Source<'a> {
    export: &'a Export<'a>,
    described: Described,
    json: Vec<u8>,
    /// Bytes of tables that are through.
    n_done: Cell<u64>,
}

impl<'a> Source<'a> {
    /// Reads what the release says of itself.
    pub(super) fn open(export: &'a Export<'a>) -> Result<Self, ExportError> {
        let release = export.release;
        let (described, json) = Described::read(export.storage, &release.path, release.digest)
            .map_err(|fault| damaged(release, RELEASE_JSON, fault))?;
        Ok(Self { export, described, json, n_done: Cell::new(0) })
    }

    /// The bytes of `release.json`.
    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    /// The release's id.
    pub(super) fn release_id(&self) -> &str {
        &self.export.release.release_id
    }

    /// By what the release is named.
    pub(super) fn content_digest(&self) -> &str {
        &self.described.content_digest
    }

    /// All files but `release.json`.
    pub(super) fn files(&self) -> &[FileRecord] {
        &self.described.files
    }

    /// The Parquet files, each with its split. Those of a split stand together.
    pub(super) fn tables(&self) -> Vec<(&str, &FileRecord)> {
        self.files().iter().filter_map(|file| Some((file.split.as_deref()?, file))).collect()
    }

    /// Says that `n_bytes` more of the tables are through.
    pub(super) fn advance(&self, n_bytes: u64) {
        self.n_done.set(self.n_done.get() + n_bytes);
        let total = self.tables().iter().map(|(_, file)| file.n_bytes).sum();
        (self.export.on_bytes)(self.n_done.get(), total);
    }

    /// Hands the bytes of a file to `take`, piece by piece. Fails, at the end, when they are not those that were published.
    pub(super) fn read(
        &self,
        file: &FileRecord,
        mut take: impl FnMut(&[u8]) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut from = self.file(file)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            self.check()?;
            let n_read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n_read) => n_read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.damaged(file, format!("cannot be read: {error}"))),
            };
            let piece = buffer.get(..n_read).unwrap_or_default();
            hasher.update(piece);
            take(piece)?;
        }
        if Digest::from(hasher.finalize()) == file.digest {
            Ok(())
        } else {
            Err(self.damaged(file, "has other bytes than were published"))
        }
    }

    /// The whole of a small file of text.
    pub(super) fn text(&self, path: &str) -> Result<String, ExportError> {
        let missing = || damaged(self.export.release, path, "is not in the release".to_owned());
        let file = self.files().iter().find(|file| file.path == path).ok_or_else(missing)?;
        let mut bytes = Vec::new();
        self.read(file, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        String::from_utf8(bytes).map_err(|_| self.damaged(file, "is not UTF-8"))
    }

    /// Calls `visit` with the rows of a Parquet file, a window at a time, and the number of each window's first row.
    pub(super) fn windows(
        &self,
        file: &FileRecord,
        mut visit: impl FnMut(usize, &DataFrame) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let n_rows = usize::try_from(file.n_rows.unwrap_or(0)).unwrap_or(usize::MAX);
        for offset in (0..n_rows).step_by(WINDOW_ROWS) {
            self.check()?;
            let wanted = WINDOW_ROWS.min(n_rows - offset);
            let rows = frame::read_slice(self.file(file)?, offset, wanted, None)
                .map_err(|error| self.damaged(file, format!("cannot be read: {error}")))?;
            if rows.height() != wanted {
                return Err(self.damaged(file, format!("has fewer than the {n_rows} rows that were published")));
            }
            visit(offset, &rows)?;
        }
        Ok(())
    }

    /// A fault of a file.
    pub(super) fn damaged(&self, file: &FileRecord, fault: impl Into<String>) -> ExportError {
        damaged(self.export.release, &file.path, fault.into())
    }

    /// A row that cannot be exported.
    pub(super) fn unfit(&self, file: &FileRecord, fault: String) -> ExportError {
        ExportError::Unfit { release: self.export.release.release_id.clone(), file: file.path.clone(), fault }
    }

    fn file(&self, file: &FileRecord) -> Result<File, ExportError> {
        let path = format!("{}/{}", self.export.release.path, file.path);
        self.export.storage.open(&path).map_err(|error| self.damaged(file, format!("cannot be read: {error}")))
    }

    fn check(&self) -> Result<(), ExportError> {
        if self.export.cancel.is_cancelled() { Err(ExportError::Stopped) } else { Ok(()) }
    }
}

fn damaged(release: &ReleaseRecord, file: &str, fault: String) -> ExportError {
    ExportError::Damaged { release: release.release_id.clone(), file: file.to_owned(), fault }
}
