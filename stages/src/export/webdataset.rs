//! WebDataset: tars of samples, `{quadruplet_id}.reference.png`, `{quadruplet_id}.target.png`, `{quadruplet_id}.json`.

use super::ExportError;
use super::card::{self, OF_DATASETS};
use super::folder::{Folder, Writing};
use super::rows::{Member, Rows};
use super::source::Source;
use crate::publish::CARD;

/// A tar is made of blocks of so many bytes; a member's header is one.
const BLOCK_BYTES: u64 = 512;
/// What ends a tar.
const END_BYTES: u64 = 2 * BLOCK_BYTES;

/// Writes tars of at most `shard_bytes`, each of one split, with the samples in the release's order.
pub(super) fn write(source: &Source<'_>, folder: &mut Folder, shard_bytes: u64) -> Result<(), ExportError> {
    let tables = source.tables();
    let mut splits = Vec::new();
    for files in tables.chunk_by(|(one, _), (next, _)| one == next) {
        let Some((split, _)) = files.first() else { continue };
        let mut shards = Shards::begin(folder, split, shard_bytes)?;
        for (_, file) in files {
            // Damage is found before anything is made of it.
            source.read(file, |_| Ok(()))?;
            source.windows(file, |first, window| {
                let rows = Rows::new(window, first).map_err(|error| source.damaged(file, error.to_string()))?;
                for row in 0..rows.len() {
                    shards.add(&rows.members(row).map_err(|fault| source.unfit(file, fault))?)?;
                }
                let n_rows = file.n_rows.unwrap_or(0).max(1);
                source.advance(file.n_bytes.saturating_mul(rows.len() as u64) / n_rows);
                Ok(())
            })?;
        }
        shards.end()?;
        splits.push(format!("\"{split}\": \"path/to/this/folder/{split}-*.tar\""));
    }
    let loaded = format!("\"webdataset\", data_files={{{}}}", splits.join(", "));
    let card = card::adapted(source, &loaded, &OF_DATASETS)?;
    folder.put(CARD, card.as_bytes())
}

/// The tars of one split.
struct Shards<'f> {
    folder: &'f mut Folder,
    split: &'f str,
    max_bytes: u64,
    /// Of the tar that is being filled.
    number: u32,
    tar: tar::Builder<Writing>,
    n_bytes: u64,
}

impl<'f> Shards<'f> {
    fn begin(folder: &'f mut Folder, split: &'f str, max_bytes: u64) -> Result<Self, ExportError> {
        let tar = tar::Builder::new(folder.create(&name(split, 0))?);
        Ok(Self { folder, split, max_bytes, number: 0, tar, n_bytes: 0 })
    }

    /// Adds a sample, which is never divided.
    fn add(&mut self, sample: &[Member<'_>]) -> Result<(), ExportError> {
        let sizes = sample.iter().map(|member| BLOCK_BYTES + (member.bytes.len() as u64).next_multiple_of(BLOCK_BYTES));
        let n_bytes: u64 = sizes.sum();
        if self.n_bytes > 0 && self.n_bytes + n_bytes + END_BYTES > self.max_bytes {
            self.number += 1;
            let next = tar::Builder::new(self.folder.create(&name(self.split, self.number))?);
            let full = std::mem::replace(&mut self.tar, next);
            close(self.folder, full)?;
            self.n_bytes = 0;
        }
        for member in sample {
            let failed = ExportError::at(self.tar.get_ref().place());
            self.tar.append_data(&mut header(member), &member.name, &*member.bytes).map_err(failed)?;
        }
        self.n_bytes += n_bytes;
        Ok(())
    }

    fn end(self) -> Result<(), ExportError> {
        close(self.folder, self.tar)
    }
}

fn name(split: &str, number: u32) -> String {
    format!("{split}-{number:06}.tar")
}

fn close(folder: &mut Folder, tar: tar::Builder<Writing>) -> Result<(), ExportError> {
    let failed = ExportError::at(tar.get_ref().place());
    folder.end(tar.into_inner().map_err(failed)?)
}

/// Of no time and nobody: equal samples make equal tars.
fn header(member: &Member<'_>) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(member.bytes.len() as u64);
    header
}
