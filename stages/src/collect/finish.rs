//! Each picture once, with its bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cafe_pipeline::catalog::QuarantineEntry;
use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{
    BatchOutcome, DuplicateRow, ErrorClass, Lister, QuarantinedRow, ROW, RowWork, WorkContext, WorkError,
};
use polars::prelude::*;

use super::config::CollectConfig;
use super::scan;
use crate::benchmark::{Benchmark, objection};
use crate::picture::{Alpha, Fault, Picture};
use crate::source::Reader;
use crate::tables;

/// All pictures, each with the one that it is a duplicate of, if it is one: the first in the listing's order stays. None of
/// them, where one of these benchmarks has kept something out that stops the stage.
pub(super) struct Once(pub(super) Vec<Benchmark>);

impl Lister for Once {
    fn list(&self, context: &WorkContext) -> Result<DataFrame, WorkError> {
        let mut rows = context.table(scan::TABLE, None)?;
        let (ids, keys) = (rows.column("reference_id")?.str()?, rows.column("key")?.str()?);
        let mut first: HashMap<&str, &str> = HashMap::with_capacity(rows.height());
        let mut duplicate_of: Vec<Option<String>> = Vec::with_capacity(rows.height());
        for (id, key) in ids.iter().zip(keys.iter()) {
            let (id, key) = (id.unwrap_or_default(), key.unwrap_or_default());
            let original = *first.entry(id).or_insert(key);
            duplicate_of.push((original != key).then(|| original.to_owned()));
        }
        rows.with_column(Column::new("duplicate_of".into(), duplicate_of))?;
        Ok(rows)
    }

    fn is_complete(&self) -> bool {
        true
    }

    fn objection(&self, quarantined: &[QuarantineEntry]) -> Option<String> {
        objection(&self.0, quarantined)
    }
}

/// Copies the bytes.
pub(super) struct Finish {
    pub(super) reader: Reader,
    pub(super) config: Arc<CollectConfig>,
}

impl Finish {
    /// The bytes to keep: those of the file, unless the picture must be turned or laid on white.
    fn keep(&self, bytes: Result<Vec<u8>, Fault>, digest: Option<&str>) -> Result<Vec<u8>, Fault> {
        let bytes = bytes?;
        if digest != Some(Digest::of(&bytes).to_hex().as_str()) {
            return Err(Fault::new(ErrorClass::Unreadable, "the file was changed after it was scanned: run it again"));
        }
        // Most files need no second look, and decoding is what costs.
        if self.config.alpha == Alpha::Keep && !may_be_turned(&bytes) {
            return Ok(bytes);
        }
        let picture = Picture::decode(&bytes, &self.config.limits, self.config.alpha)?;
        if picture.is_changed { picture.to_png() } else { Ok(bytes) }
    }
}

/// Whether there is any EXIF in the file: without it, it stands upright.
fn may_be_turned(bytes: &[u8]) -> bool {
    const MARKS: [&[u8]; 3] = [b"Exif", b"eXIf", b"EXIF"];
    MARKS.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == *mark))
}

impl RowWork for Finish {
    fn row_id(&self) -> &str {
        "key"
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let mut outcome = BatchOutcome::default();
        let duplicate_of = rows.column("duplicate_of")?.str()?;
        let mut once = Vec::new();
        for (row, of) in (0_u32..).zip(duplicate_of.iter()) {
            match of {
                Some(of) => outcome.duplicates.push(DuplicateRow { row, of: of.to_owned() }),
                None => once.push(row),
            }
        }
        let rows = rows.take(&IdxCa::from_vec("row".into(), once.clone()))?;
        let digests = rows.column("file_digest")?.str()?;
        let (mut kept, mut positions, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
        for (at, bytes) in self.reader.read(&rows, &self.config.limits)?.into_iter().enumerate() {
            context.cancel.check()?;
            let Some(row) = once.get(at).copied() else { continue };
            match self.keep(bytes, digests.get(at)) {
                Ok(bytes) => {
                    kept.push(IdxSize::try_from(at).unwrap_or(IdxSize::MAX));
                    positions.push(row);
                    pictures.push(bytes);
                }
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let mut table = rows.take(&IdxCa::from_vec("row".into(), kept))?;
        let image = StructChunked::from_series(
            "image".into(),
            table.height(),
            [
                BinaryChunked::from_iter_values("bytes".into(), pictures.iter()).into_series(),
                table.column("key")?.as_materialized_series().clone().with_name("path".into()),
            ]
            .iter(),
        )?;
        table.with_column(image.into_column())?;
        table.with_column(Column::new(ROW.into(), positions))?;
        let names = tables::references().columns.iter_names().cloned().collect::<Vec<_>>();
        let table = table.select(names.into_iter().chain([ROW.into()]))?;
        outcome.tables = BTreeMap::from([(tables::REFERENCES.to_owned(), table)]);
        Ok(outcome)
    }
}
