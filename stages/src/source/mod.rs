//! Where pictures come from: folders, WebDataset tars, Parquet files. Listed with their labels at plan time, read one by
//! one later.

mod folder;
mod labels;
mod parquet;
mod tar;
mod walk;

use std::path::PathBuf;

use cafe_pipeline::stage::{ErrorClass, WorkError};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use labels::{Labels, records};
pub(crate) use parquet::{image_bytes, is_image, version};
pub(crate) use walk::{Below, below};

use crate::picture::{Fault, Limits, check_size};

/// Where pictures come from. Paths are relative to the manifest's folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A folder and all folders in it. Labels stand in `metadata.csv` or `metadata.jsonl` there, by `file_name`.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Endings of file names, without the dot; upper and lower case are the same.
        #[serde(default = "default_extensions")]
        extensions: Vec<String>,
        /// The labels, where they are not found by their name.
        #[serde(default)]
        metadata: Option<PathBuf>,
        /// Takes the name of the folder that a picture lies in as its class, unless the metadata has one.
        #[serde(default)]
        class_from_folder: bool,
        /// Takes the name of the folder that a picture lies in as its subject, unless the metadata has one.
        #[serde(default)]
        subject_from_folder: bool,
    },
    /// Tar files in the WebDataset form: `KEY.jpg` with labels in `KEY.txt` (caption), `KEY.cls` (class), `KEY.json`.
    Webdataset {
        /// The tar files, not compressed.
        #[schemars(length(min = 1))]
        files: Vec<PathBuf>,
    },
    /// Parquet files, for example those of a Hugging Face dataset.
    Parquet {
        /// The files.
        #[schemars(length(min = 1))]
        files: Vec<PathBuf>,
        /// The column of pictures: a struct with `bytes`, or binary.
        #[serde(default = "default_image")]
        image: String,
        /// The column of classes, and so on; left out where there is none.
        #[serde(default)]
        columns: LabelColumns,
    },
}

/// Names of the columns that hold labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelColumns {
    /// Class, such as `dog`.
    pub class: Option<String>,
    /// Caption.
    pub caption: Option<String>,
    /// What the picture shows: several pictures of one subject never fall into two splits.
    pub subject_id: Option<String>,
    /// Licence.
    pub licence: Option<String>,
    /// Where it comes from.
    pub source: Option<String>,
}

/// Endings of file names that are taken for pictures.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "bmp"];

fn default_extensions() -> Vec<String> {
    EXTENSIONS.map(ToOwned::to_owned).to_vec()
}

fn default_image() -> String {
    "image".to_owned()
}

/// A picture that was found: where it lies, and what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Unique within the source: the path in the folder, `FILE:MEMBER`, `FILE:ROW`.
    pub(crate) key: String,
    /// The file, relative to the source's base.
    pub(crate) file: String,
    /// First byte in it (tar), or row (Parquet).
    pub(crate) offset: u64,
    /// Length in bytes; unknown for Parquet.
    pub(crate) n_bytes: Option<u64>,
    pub(crate) labels: Labels,
    /// What tells the file's contents from others of the same shape, where the listing does not show it otherwise.
    pub(crate) version: Option<String>,
    /// Why it cannot be read; found while listing.
    pub(crate) fault: Option<String>,
}

/// A source whose paths are resolved.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    base: PathBuf,
    source: Source,
}

/// A mistake that only a person can repair: the source is not what the manifest says.
pub(crate) fn wrong(message: String) -> WorkError {
    WorkError::Systemic(message)
}

impl Reader {
    /// Paths of `source` are relative to `base`.
    pub(crate) fn new(base: PathBuf, source: Source) -> Self {
        Self { base, source }
    }

    /// All pictures, in an order that depends on names only.
    pub(crate) fn list(&self) -> Result<Vec<Found>, WorkError> {
        match &self.source {
            Source::Folder { path, extensions, metadata, class_from_folder, subject_from_folder } => {
                let listing = folder::Listing {
                    root: self.base.join(path),
                    extensions,
                    metadata: metadata.as_ref().map(|path| self.base.join(path)),
                    class_from_folder: *class_from_folder,
                    subject_from_folder: *subject_from_folder,
                };
                listing.list()
            }
            Source::Webdataset { files } => tar::list(&self.base, files),
            Source::Parquet { files, image, columns } => parquet::list(&self.base, files, image, columns),
        }
    }

    /// The bytes of the pictures in a frame made by [`frame`].
    pub(crate) fn read(&self, rows: &DataFrame, limits: &Limits) -> Result<Vec<Result<Vec<u8>, Fault>>, WorkError> {
        Ok(self.read_found(&places(rows)?, limits))
    }

    /// The bytes of the pictures that were found.
    pub(crate) fn read_found(&self, found: &[Found], limits: &Limits) -> Vec<Result<Vec<u8>, Fault>> {
        match &self.source {
            Source::Folder { path, .. } => {
                let root = self.base.join(path);
                found.iter().map(|found| folder::read(&root, found, limits)).collect()
            }
            Source::Webdataset { .. } => found.iter().map(|found| tar::read(&self.base, found, limits)).collect(),
            Source::Parquet { image, .. } => parquet::read(&self.base, image, found, limits),
        }
    }
}

/// A frame of what was found, one row each.
pub(crate) fn frame(found: Vec<Found>) -> Result<DataFrame, WorkError> {
    let text = |name: &str, value: fn(&Found) -> Option<String>| {
        Column::new(name.into(), found.iter().map(value).collect::<Vec<Option<String>>>())
    };
    Ok(DataFrame::new(
        found.len(),
        vec![
            text("key", |found| Some(found.key.clone())),
            text("file", |found| Some(found.file.clone())),
            Column::new("offset".into(), found.iter().map(|found| found.offset).collect::<Vec<u64>>()),
            Column::new("n_bytes".into(), found.iter().map(|found| found.n_bytes).collect::<Vec<Option<u64>>>()),
            text("class", |found| found.labels.class.clone()),
            text("caption", |found| found.labels.caption.clone()),
            text("subject_id", |found| found.labels.subject_id.clone()),
            text("licence", |found| found.labels.licence.clone()),
            text("source", |found| found.labels.source.clone()),
            text("version", |found| found.version.clone()),
            text("fault", |found| found.fault.clone()),
        ],
    )?)
}

/// Where the rows of a frame made by [`frame`] lie.
fn places(rows: &DataFrame) -> Result<Vec<Found>, WorkError> {
    let (keys, files) = (rows.column("key")?.str()?, rows.column("file")?.str()?);
    let (offsets, lengths) = (rows.column("offset")?.u64()?, rows.column("n_bytes")?.u64()?);
    let faults = rows.column("fault")?.str()?;
    Ok((0..rows.height())
        .map(|at| Found {
            key: keys.get(at).unwrap_or_default().to_owned(),
            file: files.get(at).unwrap_or_default().to_owned(),
            offset: offsets.get(at).unwrap_or_default(),
            n_bytes: lengths.get(at),
            labels: Labels::default(),
            version: None,
            fault: faults.get(at).map(ToOwned::to_owned),
        })
        .collect())
}

/// What is known to be wrong before a byte is read.
fn check(found: &Found, limits: &Limits) -> Result<(), Fault> {
    if let Some(fault) = &found.fault {
        return Err(Fault::new(ErrorClass::Unreadable, fault.clone()));
    }
    found.n_bytes.map_or(Ok(()), |n_bytes| check_size(n_bytes, limits))
}

fn unreadable(error: &std::io::Error) -> Fault {
    Fault::new(ErrorClass::Unreadable, format!("cannot be read: {error}"))
}
