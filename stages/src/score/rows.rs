//! Candidates with what their scores need of other tables: the texts of their pair, and their reference.

use cafe_pipeline::stage::{ErrorClass, QuarantinedRow, Read, WorkContext, WorkError};
use image::RgbImage;
use polars::prelude::*;

use super::compile::ID;
use crate::join::Join;
use crate::picture::{Alpha, Fault, Limits, Picture};
use crate::source::image_bytes;
use crate::tables;

/// What a scorer needs beside the candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// Instruction and caption of its pair.
    pub(super) texts: bool,
    /// The picture of its reference.
    pub(super) references: bool,
}

/// What adds it to rows.
pub(super) struct Joins {
    wanted: Joined,
    pairs: Join,
    references: Join,
}

impl Joined {
    /// The tables read, beside the candidates.
    pub(super) fn reads(self) -> Vec<Read> {
        let pairs = (self.texts || self.references).then(|| Read::aligned(tables::PAIRS).with_columns(self.of_pairs()));
        let references = self.references.then(|| Read::aligned(tables::REFERENCES).with_columns(["image"]));
        pairs.into_iter().chain(references).collect()
    }

    fn of_pairs(self) -> Vec<String> {
        let texts: &[&str] = if self.texts { &["instruction", "caption"] } else { &[] };
        std::iter::once("reference_id").chain(texts.iter().copied()).map(Into::into).collect()
    }
}

impl Joins {
    pub(super) fn new(wanted: Joined) -> Self {
        let join = |table: &str, key: &str, columns: Vec<String>| Join::new(table, key, columns);
        Self {
            wanted,
            pairs: join(tables::PAIRS, "pair_id", wanted.of_pairs()),
            references: join(tables::REFERENCES, "reference_id", vec!["image".to_owned()]),
        }
    }

    /// The columns of `candidates` that a scorer looks at.
    pub(super) fn columns() -> Vec<String> {
        [ID, "pair_id", "image"].map(Into::into).to_vec()
    }

    /// `rows` with `pairs.*`, `reference_id` and `references.image`.
    pub(super) fn add(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        if !self.wanted.texts && !self.wanted.references {
            return Ok(rows);
        }
        let mut rows = self.pairs.add(context, rows)?;
        rows.rename("pairs.reference_id", "reference_id".into())?;
        if self.wanted.references { self.references.add(context, rows) } else { Ok(rows) }
    }
}

/// Prepared rows, column by column.
pub(super) struct Rows {
    n: usize,
    pair_ids: StringChunked,
    images: BinaryChunked,
    reference_ids: Option<StringChunked>,
    references: Option<BinaryChunked>,
    instructions: Option<StringChunked>,
    captions: Option<StringChunked>,
}

/// Why a row cannot be scored; the message tells which picture it is about.
pub(super) type Refused = (ErrorClass, String);

impl Rows {
    pub(super) fn of(frame: &DataFrame) -> Result<Self, WorkError> {
        let text = |name: &str| match frame.column(name) {
            Ok(column) => Ok::<_, PolarsError>(Some(column.str()?.clone())),
            Err(_) => Ok(None),
        };
        let references = match frame.column("references.image") {
            Ok(column) => Some(image_bytes(column)?),
            Err(_) => None,
        };
        Ok(Self {
            n: frame.height(),
            pair_ids: frame.column("pair_id")?.str()?.clone(),
            images: image_bytes(frame.column("image")?)?,
            reference_ids: text("reference_id")?,
            references,
            instructions: text("pairs.instruction")?,
            captions: text("pairs.caption")?,
        })
    }

    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// The candidate's file.
    pub(super) fn image(&self, row: usize) -> Result<&[u8], Refused> {
        self.images.get(row).ok_or_else(|| (ErrorClass::Invalid, "the candidate has no image".to_owned()))
    }

    /// Id and file of the candidate's reference.
    pub(super) fn reference(&self, row: usize) -> Result<(&str, &[u8]), Refused> {
        let invalid = |message: String| (ErrorClass::Invalid, message);
        let id = self.reference_ids.as_ref().and_then(|ids| ids.get(row)).ok_or_else(|| {
            let pair = self.pair_ids.get(row).unwrap_or("null");
            invalid(format!("its pair {pair} is not in the table `pairs`"))
        })?;
        let file = self.references.as_ref().and_then(|files| files.get(row));
        Ok((id, file.ok_or_else(|| invalid(format!("its reference {id} has no image in the table `references`")))?))
    }

    /// Instruction and caption.
    pub(super) fn texts(&self, row: usize) -> [Option<&str>; 2] {
        [&self.instructions, &self.captions].map(|texts| texts.as_ref().and_then(|texts| texts.get(row)))
    }
}

/// Decodes a picture, upright and on white.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, Fault> {
    let picture = Picture::decode(bytes, limits, Alpha::White)?;
    Ok(image::DynamicImage::ImageRgba8(picture.pixels).into_rgb8())
}

/// The rows that are done, each with its values, and those that are not.
pub(super) fn split<T>(found: Vec<Result<T, Refused>>) -> (Vec<u32>, Vec<T>, Vec<QuarantinedRow>) {
    let (mut rows, mut values, mut quarantined) = (Vec::new(), Vec::new(), Vec::new());
    for (row, found) in (0..).zip(found) {
        match found {
            Ok(value) => {
                rows.push(row);
                values.push(value);
            }
            Err((class, message)) => quarantined.push(QuarantinedRow { row, class, message }),
        }
    }
    (rows, values, quarantined)
}

/// The ids of `rows`, positions in `frame`.
pub(super) fn ids(frame: &DataFrame, rows: &[u32]) -> PolarsResult<Column> {
    let positions = IdxCa::from_vec("row".into(), rows.iter().map(|row| IdxSize::from(*row)).collect());
    frame.column(ID)?.take(&positions)
}
