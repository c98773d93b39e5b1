//! Exports: a published release in a folder of its own, in the layout that its readers know.
//!
//! | format | the folder |
//! |---|---|
//! | `parquet` | the release's files as they are, card and `release.json` among them |
//! | `hf` | `data/{split}-00000-of-00002.parquet`, and a card whose YAML tells `datasets` splits and features |
//! | `webdataset` | `{split}-000000.tar`, a sample for each row, and a card |
//!
//! All have `SHA256SUMS`, as `sha256sum -c` reads it. Files are read as they were published or not at all: their digests are
//! compared on the way. In memory is a window of rows at most. The folder gets its name in one step, when all of it is durable:
//! a killed export leaves nothing under that name. The same release makes the same bytes, whenever and wherever.

mod card;
mod copy;
mod folder;
mod rows;
mod source;
#[cfg(test)]
mod tests;
mod webdataset;

use std::io;
use std::path::{Path, PathBuf};

use cafe_pipeline::catalog::ReleaseRecord;
use cafe_pipeline::stage::Cancel;
use cafe_pipeline::storage::Storage;

use folder::Folder;
use source::Source;

/// How a release is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The release as it is.
    Parquet,
    /// For Hugging Face's `datasets`.
    Hf,
    /// Tars for `webdataset`.
    WebDataset {
        /// The most bytes of a tar. A sample that is larger has a tar of its own.
        shard_bytes: u64,
    },
}

/// What is exported, and how.
pub struct Export<'a> {
    /// Where the release lies.
    pub storage: &'a dyn Storage,
    /// What the catalog knows of it.
    pub release: &'a ReleaseRecord,
    /// The layout.
    pub format: Format,
    /// Asks for a stop.
    pub cancel: &'a Cancel,
    /// Told how many bytes of the release's rows are through, of how many.
    pub on_bytes: &'a dyn Fn(u64, u64),
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place is no new or empty folder.
    #[error("cannot export to {}: it {what}", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another process exports to the same place.
    #[error("cannot export to {}: another export to it is running", .0.display())]
    Busy(PathBuf),
    /// A file of the release is not as it was published.
    #[error("cannot export release {release}: {file} {fault}")]
    Damaged {
        /// Its id.
        release: String,
        /// Relative to the release's folder.
        file: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The file is as it was published, but a row of it cannot be exported.
    #[error("cannot export release {release}: {file}, {fault}")]
    Unfit {
        /// Its id.
        release: String,
        /// Relative to the release's folder.
        file: String,
        /// Which row, and why.
        fault: String,
    },
    /// The folder cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Of the file system.
        error: io::Error,
    },
    /// A stop was asked for.
    #[error("stopped")]
    Stopped,
}

impl ExportError {
    /// Of the file system, at `path`.
    fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Write { path: path.clone(), error }
    }
}

/// Writes the release to the folder `output`, which is made; an empty one may be there. Blocks.
///
/// # Errors
/// See [`ExportError`]. Nothing is left behind then.
pub fn export(export: &Export<'_>, output: &Path) -> Result<(), ExportError> {
    let source = Source::open(export)?;
    let mut folder = Folder::begin(output)?;
    match export.format {
        Format::Parquet => copy::parquet(&source, &mut folder)?,
        Format::Hf => copy::hf(&source, &mut folder)?,
        Format::WebDataset { shard_bytes } => webdataset::write(&source, &mut folder, shard_bytes)?,
    }
    folder.finish()
}
