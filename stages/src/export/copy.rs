//! Exports whose tables are the release's own files.

use cafe_pipeline::release::RELEASE_JSON;

use super::ExportError;
use super::card;
use super::folder::Folder;
use super::rows::Rows;
use super::source::Source;
use crate::publish::{CARD, FileRecord};

/// The release as it is.
pub(super) fn parquet(source: &Source<'_>, folder: &mut Folder) -> Result<(), ExportError> {
    for file in source.files() {
        copy(source, folder, file)?;
    }
    folder.put(RELEASE_JSON, source.json())
}

/// The release as `datasets` opens it. Files are named, and footers filled, for it already; the card names no
/// `release.json`, which would tell the digest of another card.
pub(super) fn hf(source: &Source<'_>, folder: &mut Folder) -> Result<(), ExportError> {
    for (_, file) in source.tables() {
        source.windows(file, |first, window| {
            let rows = Rows::new(window, first).map_err(|error| source.damaged(file, error.to_string()))?;
            (0..rows.len()).try_for_each(|row| rows.pictures(row).map(drop)).map_err(|fault| source.unfit(file, fault))
        })?;
        copy(source, folder, file)?;
    }
    let card = card::adapted(source, "\"path/to/this/folder\"", &[])?;
    folder.put(CARD, card.as_bytes())
}

fn copy(source: &Source<'_>, folder: &mut Folder, file: &FileRecord) -> Result<(), ExportError> {
    let mut to = folder.create(&file.path)?;
    source.read(file, |piece| {
        if file.split.is_some() {
            source.advance(piece.len() as u64);
        }
        to.put(piece)
    })?;
    folder.end(to)
}
