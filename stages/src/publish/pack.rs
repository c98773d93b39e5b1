//! Packing: what belongs to an accepted row, pixels included, becomes a row of `quadruplets`.

use std::collections::BTreeMap;

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{BatchOutcome, ErrorClass, QuarantinedRow, ROW, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::config::{Subject, id_column};
use super::gather::gather;
use super::table::{CONTENT_DIGEST, IMAGE_BYTES, SCORES, packed_columns, quadruplets};
use super::{list, scores};
use crate::ids;
use crate::tables::{self, REFERENCES};

/// The columns of pictures.
pub(super) const IMAGES: [&str; 2] = ["reference_image", "target_image"];
/// Where a reference has no split.
const DEFAULT_SPLIT: &str = "train";

/// The work of `publish.pack`.
pub(super) struct Pack {
    pub(super) of: Subject,
}

impl RowWork for Pack {
    fn row_id(&self) -> &str {
        self.of.id_column()
    }

    fn batch_rows(&self) -> usize {
        128
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let n = rows.height();
        if n == 0 {
            let mut packed = DataFrame::empty_with_schema(&quadruplets(self.of).columns);
            packed.with_column(Column::new_empty(ROW.into(), &DataType::UInt32))?;
            return Ok(outcome(packed, Vec::new()));
        }
        let mut gathered = BTreeMap::new();
        for table in self.of.chain() {
            let found = gather(context, table, &list::positions(rows, table)?)?;
            if found.column(id_column(table))?.as_materialized_series()
                != rows.column(id_column(table))?.as_materialized_series()
            {
                return Err(WorkError::Systemic(format!(
                    "`{table}` does not have the rows that the listing was made from: plan the run again"
                )));
            }
            gathered.insert(*table, found);
        }
        let mut packed: Vec<Column> = Vec::new();
        for column in packed_columns(self.of) {
            let made = match (column.from, column.name) {
                (_, name @ ("y" | "y_tilde")) if rows.schema().contains(name) => rows.column(name)?.clone(),
                (Some((table, name)), _) => {
                    let found = gathered.get(table).map(|found| found.column(name)).transpose()?;
                    let found = found.ok_or_else(|| WorkError::Systemic(format!("`{table}` was not read")))?;
                    let found = if IMAGES.contains(&column.name) {
                        named_by_file(found)?
                    } else {
                        found.cast(&column.dtype)?
                    };
                    found.with_name(column.name.into())
                }
                (None, SCORES) => {
                    let texts = rows.column(SCORES)?.str()?;
                    let decoded: Vec<_> = texts.iter().map(|text| scores::decode(text.unwrap_or_default())).collect();
                    scores::to_column(SCORES, &decoded)?
                }
                (None, "split") => splits(gathered.get(REFERENCES))?,
                (None, name) => Column::full_null(name.into(), n, &column.dtype),
            };
            packed.push(made);
        }
        let mut packed = DataFrame::new(n, packed)?;
        packed.replace("quadruplet_id", quadruplet_ids(&packed, self.of)?)?;
        let (sizes, faults) = image_sizes(&packed)?;
        packed.replace(IMAGE_BYTES, UInt64Chunked::from_vec(IMAGE_BYTES.into(), sizes).into_column())?;
        let digests: Vec<String> = content_digests(&packed);
        packed.replace(CONTENT_DIGEST, Column::new(CONTENT_DIGEST.into(), digests))?;
        packed.with_column(UInt32Chunked::from_vec(ROW.into(), (0..n as u32).collect()).into_column())?;
        if !faults.is_empty() {
            let keep: BooleanChunked =
                (0..n as u32).map(|row| Some(!faults.iter().any(|fault| fault.row == row))).collect();
            packed = packed.filter(&keep)?;
        }
        Ok(outcome(packed, faults))
    }
}

fn outcome(packed: DataFrame, quarantined: Vec<QuarantinedRow>) -> BatchOutcome {
    let tables = BTreeMap::from([(tables::QUADRUPLETS.to_owned(), packed)]);
    BatchOutcome { tables, quarantined, ..BatchOutcome::default() }
}

/// Pictures under the names of their files: the folders they lay in are nobody's business.
fn named_by_file(images: &Column) -> Result<Column, WorkError> {
    let images = images.struct_()?;
    let (bytes, paths) = (images.field_by_name("bytes")?, images.field_by_name("path")?);
    let names: StringChunked =
        paths.str()?.iter().map(|path| path.and_then(|path| path.rsplit(['/', '\\']).next())).collect();
    let fields =
        [bytes.cast(&DataType::Binary)?.with_name("bytes".into()), names.into_series().with_name("path".into())];
    Ok(StructChunked::from_series("image".into(), images.len(), fields.iter())?.into_series().into_column())
}

/// The splits of the references, as names that can stand in a file's name.
fn splits(references: Option<&DataFrame>) -> Result<Column, WorkError> {
    let Some(references) = references else { return Err(WorkError::Systemic("references were not read".to_owned())) };
    let splits: Vec<String> = references.column("split")?.str()?.iter().map(split_name).collect();
    Ok(Column::new("split".into(), splits))
}

fn split_name(split: Option<&str>) -> String {
    let safe = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    match split.map(str::trim).filter(|split| !split.is_empty()) {
        Some(split) => split.chars().map(safe).collect(),
        None => DEFAULT_SPLIT.to_owned(),
    }
}

/// Digests of the candidate (or what stands for it), y and y~.
fn quadruplet_ids(packed: &DataFrame, of: Subject) -> Result<Column, WorkError> {
    let column = packed.column(of.id_column())?.str()?;
    let text = |name: &str| packed.column(name).ok().map(|column| column.str()).transpose();
    let (y, y_tilde) = (text("y")?, text("y_tilde")?);
    let made: Vec<String> = column
        .iter()
        .enumerate()
        .map(|(row, id)| {
            let said = |texts: Option<&StringChunked>| texts.and_then(|texts| texts.get(row)).map(ToOwned::to_owned);
            let (y, y_tilde) = (said(y), said(y_tilde));
            ids::quadruplet_id(of.id_column(), id.unwrap_or_default(), y.as_deref(), y_tilde.as_deref())
        })
        .collect();
    Ok(Column::new("quadruplet_id".into(), made))
}

/// Bytes of pictures per row, and the rows that lack one.
fn image_sizes(packed: &DataFrame) -> Result<(Vec<u64>, Vec<QuarantinedRow>), WorkError> {
    let mut sizes = vec![0; packed.height()];
    let mut faults: Vec<QuarantinedRow> = Vec::new();
    for name in IMAGES {
        let Ok(images) = packed.column(name) else { continue };
        let bytes = images.struct_()?.field_by_name("bytes")?;
        for (row, (size, bytes)) in (0..).zip(sizes.iter_mut().zip(bytes.binary()?.iter())) {
            match bytes {
                Some(bytes) if !bytes.is_empty() => *size += bytes.len() as u64,
                _ if faults.iter().any(|fault| fault.row == row) => {}
                _ => {
                    let message = format!("`{name}` has no pixels: a row without a picture cannot be published");
                    faults.push(QuarantinedRow { row, class: ErrorClass::Invalid, message });
                }
            }
        }
    }
    Ok((sizes, faults))
}

/// A digest per row over all columns, numbers by their bits.
fn content_digests(packed: &DataFrame) -> Vec<String> {
    let mut hashers = vec![Hasher::new("quadruplet-content/v1"); packed.height()];
    for column in packed.columns().iter().filter(|column| column.name() != CONTENT_DIGEST) {
        let series = column.as_materialized_series().rechunk();
        for (hasher, value) in hashers.iter_mut().zip(series.iter()) {
            *hasher = hash(hasher.clone(), column.name(), &value);
        }
    }
    hashers.iter().map(|hasher| hasher.digest().to_hex()).collect()
}

fn hash(hasher: Hasher, name: &str, value: &AnyValue<'_>) -> Hasher {
    match value {
        AnyValue::Null => hasher.text("null", name),
        AnyValue::String(text) => hasher.text(name, text),
        AnyValue::StringOwned(text) => hasher.text(name, text),
        AnyValue::Binary(bytes) => hasher.bytes(name, bytes),
        AnyValue::BinaryOwned(bytes) => hasher.bytes(name, bytes),
        AnyValue::UInt32(number) => hasher.number(name, (*number).into()),
        AnyValue::UInt64(number) => hasher.number(name, *number),
        AnyValue::Float64(number) => hasher.number(name, number.to_bits()),
        AnyValue::List(values) => {
            let hasher = hasher.number(name, values.len() as u64);
            values.iter().fold(hasher, |hasher, value| hash(hasher, "item", &value))
        }
        AnyValue::Struct(..) | AnyValue::StructOwned(..) => {
            value._iter_struct_av().fold(hasher.text("struct", name), |hasher, field| hash(hasher, "field", &field))
        }
        other => hasher.text(name, &other.to_string()),
    }
}
