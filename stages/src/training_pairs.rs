//! Pairs of pictures to train on: Parquet files with a reference image and a target image in each row, such as `publish`
//! writes them.

use std::fs::File;
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::frame;
use image::RgbaImage;
use polars::prelude::*;

use crate::picture::{Alpha, Limits, Picture};
use crate::source::{image_bytes, is_image};

/// Column of x.
const REFERENCE: &str = "reference_image";
/// Column of x~.
const TARGET: &str = "target_image";
/// Column of what x~ shows, which need not be there.
const CAPTION: &str = "caption";

/// Column of y: what the user says.
const SAID: &str = "y";
/// Column of y~: what the assistant replies; null where nothing was written.
const REPLY: &str = "y_tilde";

/// Which pictures a training takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// x alone.
    References,
    /// x and x~.
    Pairs,
}

/// Rows of several files, one after the other.
#[derive(Debug)]
pub struct TrainingPairs {
    files: Vec<PairFile>,
}

#[derive(Debug)]
struct PairFile {
    path: PathBuf,
    n_rows: usize,
    has_captions: bool,
    wanted: Wanted,
}

impl Wanted {
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::References => &[REFERENCE],
            Self::Pairs => &[REFERENCE, TARGET],
        }
    }
}

/// x and x~.
pub struct TrainingPair {
    /// x: the reference image.
    pub reference: RgbaImage,
    /// x~: the target image, where it is wanted.
    pub target: Option<RgbaImage>,
    /// What x~ shows, where the file says so.
    pub caption: Option<String>,
}

/// y and y~.
pub struct TrainingDialogue {
    /// y: what the user says.
    pub said: Option<String>,
    /// y~: what the assistant replies.
    pub reply: Option<String>,
}

/// Why pairs cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct TrainingPairsError {
    path: PathBuf,
    message: String,
}

impl TrainingPairsError {
    fn new(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl TrainingPairs {
    /// Opens `path`: a Parquet file, or a folder of them, which are taken in the order of their names.
    ///
    /// # Errors
    /// When there is none, or a file lacks the column `reference_image`, or `target_image` where it is wanted.
    pub fn open(path: &Path, wanted: Wanted) -> Result<Self, TrainingPairsError> {
        let pairs = Self::of_files(parquet_files(path)?, wanted)?;
        if pairs.n_rows() == 0 {
            return Err(TrainingPairsError::new(path, "holds no rows to train on"));
        }
        Ok(pairs)
    }

    /// Opens these files, in this order. They may hold no rows at all.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn of_files(
        files: impl IntoIterator<Item = PathBuf>,
        wanted: Wanted,
    ) -> Result<Self, TrainingPairsError> {
        let files = files.into_iter().map(|path| PairFile::open(path, wanted));
        Ok(Self { files: files.collect::<Result<_, _>>()? })
    }

    /// How many pairs there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.files.iter().map(|file| file.n_rows).sum()
    }

    /// Tells these files from others: of their names, sizes and footers.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, TrainingPairsError> {
        let mut hasher = Hasher::new("training-pairs/v1");
        for file in &self.files {
            let failed = |error: std::io::Error| TrainingPairsError::new(&file.path, error.to_string());
            let version = crate::source::version(File::open(&file.path).map_err(failed)?, REFERENCE).map_err(failed)?;
            hasher = hasher.text("file", &version);
        }
        Ok(hasher.row_id())
    }

    /// y and y~ of every row, null where there is none.
    ///
    /// # Errors
    /// When a file has no such columns of text, or cannot be read.
    pub fn dialogues(&self) -> Result<Vec<TrainingDialogue>, TrainingPairsError> {
        let mut all = Vec::with_capacity(self.n_rows());
        for file in &self.files {
            all.extend(file.dialogues()?);
        }
        Ok(all)
    }

    /// Reads and decodes the rows `offset..offset + n_rows`, alpha laid on white.
    ///
    /// # Errors
    /// When a picture is missing or damaged: with file, row and column.
    pub fn read(&self, offset: usize, n_rows: usize) -> Result<Vec<TrainingPair>, TrainingPairsError> {
        let mut pairs = Vec::with_capacity(n_rows);
        let (mut skip, mut left) = (offset, n_rows);
        for file in &self.files {
            if skip >= file.n_rows {
                skip -= file.n_rows;
                continue;
            }
            let here = left.min(file.n_rows - skip);
            pairs.extend(file.read(skip, here)?);
            left -= here;
            skip = 0;
            if left == 0 {
                break;
            }
        }
        Ok(pairs)
    }
}

impl PairFile {
    fn open(path: PathBuf, wanted: Wanted) -> Result<Self, TrainingPairsError> {
        let failed = |message: String| TrainingPairsError::new(&path, message);
        let open = || File::open(&path).map_err(|error| failed(error.to_string()));
        let columns = frame::columns(open()?).map_err(|error| failed(format!("is not a Parquet file: {error}")))?;
        for column in wanted.columns().iter().copied() {
            match columns.get(column) {
                Some(dtype) if is_image(dtype) => {}
                Some(dtype) => {
                    let message = format!("column `{column}` is {dtype}, a struct with `bytes` or binary was expected");
                    return Err(failed(message));
                }
                None => {
                    let names: Vec<&str> = columns.iter_names().map(PlSmallStr::as_str).collect();
                    let message = format!(
                        "has no column `{column}`, but {}; a release of quadruplets has `{REFERENCE}` and `{TARGET}`",
                        names.join(", "),
                    );
                    return Err(failed(message));
                }
            }
        }
        let n_rows = frame::n_rows(open()?).map_err(|error| failed(error.to_string()))?;
        let n_rows = usize::try_from(n_rows).map_err(|error| failed(error.to_string()))?;
        let has_captions = columns.get(CAPTION).is_some_and(DataType::is_string);
        Ok(Self { path, n_rows, has_captions, wanted })
    }

    fn dialogues(&self) -> Result<Vec<TrainingDialogue>, TrainingPairsError> {
        let failed = |message: String| TrainingPairsError::new(&self.path, message);
        let file = File::open(&self.path).map_err(|error| failed(error.to_string()))?;
        let columns = [SAID, REPLY].map(str::to_owned);
        let rows =
            frame::read_slice(file, 0, self.n_rows, Some(&columns)).map_err(|error| failed(error.to_string()))?;
        let texts = |name: &str| -> Result<Vec<Option<String>>, TrainingPairsError> {
            let column = rows.column(name).and_then(Column::str);
            let column = column.map_err(|error| failed(format!("column `{name}`: {error}")))?;
            Ok(column.iter().map(|text| text.map(str::to_owned)).collect())
        };
        let rows = texts(SAID)?.into_iter().zip(texts(REPLY)?);
        Ok(rows.map(|(said, reply)| TrainingDialogue { said, reply }).collect())
    }

    fn read(&self, offset: usize, n_rows: usize) -> Result<Vec<TrainingPair>, TrainingPairsError> {
        let failed = |message: String| TrainingPairsError::new(&self.path, message);
        let file = File::open(&self.path).map_err(|error| failed(error.to_string()))?;
        let mut columns: Vec<String> = self.wanted.columns().iter().map(|name| (*name).to_owned()).collect();
        columns.extend(self.has_captions.then(|| CAPTION.to_owned()));
        let rows =
            frame::read_slice(file, offset, n_rows, Some(&columns)).map_err(|error| failed(error.to_string()))?;
        let bytes = |column: &str| {
            rows.column(column).and_then(image_bytes).map_err(|error| failed(format!("column `{column}`: {error}")))
        };
        let references = bytes(REFERENCE)?;
        let targets = (self.wanted == Wanted::Pairs).then(|| bytes(TARGET)).transpose()?;
        let decode = |column: &str, row: usize, bytes: Option<&[u8]>| {
            let failed = |message: &str| failed(format!("row {}, column `{column}`: {message}", offset + row));
            let bytes = bytes.ok_or_else(|| failed("there is no picture"))?;
            let limits = Limits { min_side_px: 1, ..Limits::default() };
            let picture = Picture::decode(bytes, &limits, Alpha::White).map_err(|fault| failed(&fault.message))?;
            Ok(picture.pixels)
        };
        let captions = match self.has_captions {
            true => Some(rows.column(CAPTION).and_then(Column::str).map_err(|error| failed(error.to_string()))?),
            false => None,
        };
        let pair = |(row, reference)| {
            let caption = captions.and_then(|captions| captions.get(row)).map(str::to_owned);
            let reference = decode(REFERENCE, row, reference)?;
            let target = targets.as_ref().map(|targets| decode(TARGET, row, targets.get(row))).transpose()?;
            Ok(TrainingPair { reference, target, caption })
        };
        references.iter().enumerate().map(pair).collect()
    }
}

fn parquet_files(path: &Path) -> Result<Vec<PathBuf>, TrainingPairsError> {
    let failed = |error: std::io::Error| TrainingPairsError::new(path, error.to_string());
    if !path.metadata().map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|error| TrainingPairsError::new(path, error.to_string()))?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|extension| extension == "parquet") {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Err(TrainingPairsError::new(path, "holds no Parquet files"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, Rgba};

    use super::*;

    fn png(shade: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let image = RgbaImage::from_pixel(4, 3, Rgba([shade, 0, 0, 255]));
        DynamicImage::ImageRgba8(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn write(path: &Path, shades: &[u8], columns: [&str; 2]) {
        let pictures: Vec<Vec<u8>> = shades.iter().map(|shade| png(*shade)).collect();
        let columns = columns.map(|name| {
            let bytes: Vec<Option<&[u8]>> =
                pictures.iter().zip(shades).map(|(bytes, shade)| (*shade > 0).then_some(bytes.as_slice())).collect();
            BinaryChunked::from_iter_options(name.into(), bytes.into_iter()).into_series().into_column()
        });
        let mut rows = DataFrame::new(shades.len(), columns.to_vec()).unwrap();
        std::fs::write(path, frame::to_parquet(&mut rows, &[]).unwrap()).unwrap();
    }

    fn shades(pairs: &[TrainingPair]) -> Vec<u8> {
        pairs.iter().map(|pair| pair.target.as_ref().unwrap().get_pixel(0, 0).0[0]).collect()
    }

    #[test]
    fn rows_of_several_files_are_one_sequence() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("b.parquet"), &[3, 4, 5], [REFERENCE, TARGET]);
        write(&folder.path().join("a.parquet"), &[1, 2], [REFERENCE, TARGET]);
        let pairs = TrainingPairs::open(folder.path(), Wanted::Pairs).unwrap();
        assert_eq!(pairs.n_rows(), 5);
        for offset in 0..5 {
            for n_rows in 0..=5 - offset {
                let expected: Vec<u8> = (1..=5).skip(offset).take(n_rows).collect();
                assert_eq!(shades(&pairs.read(offset, n_rows).unwrap()), expected);
            }
        }
        let before = pairs.fingerprint().unwrap();
        write(&folder.path().join("b.parquet"), &[3, 4, 6], [REFERENCE, TARGET]);
        assert_ne!(TrainingPairs::open(folder.path(), Wanted::Pairs).unwrap().fingerprint().unwrap(), before);
    }

    #[test]
    fn pictures_alone_need_no_target() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.parquet");
        write(&file, &[10, 20], [REFERENCE, "other"]);
        assert!(TrainingPairs::open(&file, Wanted::Pairs).is_err());
        let read = TrainingPairs::open(&file, Wanted::References).unwrap().read(1, 1).unwrap();
        assert_eq!((read[0].reference.get_pixel(0, 0).0[0], read[0].target.is_some()), (20, false));
    }

    #[test]
    fn mistakes_name_file_row_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.parquet");
        let error = |result: Result<TrainingPairs, TrainingPairsError>| result.unwrap_err().to_string();
        assert!(error(TrainingPairs::open(folder.path(), Wanted::Pairs)).contains("holds no Parquet files"));
        write(&file, &[1], [REFERENCE, "image"]);
        assert!(
            error(TrainingPairs::open(&file, Wanted::Pairs))
                .contains("a.parquet: has no column `target_image`, but reference_image, image")
        );
        write(&file, &[], [REFERENCE, TARGET]);
        assert!(error(TrainingPairs::open(&file, Wanted::Pairs)).contains("holds no rows"));
        write(&file, &[7, 0], [REFERENCE, TARGET]);
        let read = TrainingPairs::open(&file, Wanted::Pairs).unwrap().read(0, 2).err().unwrap().to_string();
        assert!(read.contains("a.parquet: row 1, column `reference_image`: there is no picture"), "{read}");
        std::fs::write(&file, "no Parquet").unwrap();
        assert!(error(TrainingPairs::open(&file, Wanted::Pairs)).contains("is not a Parquet file"));
    }
}
