//! Every picture is decoded once, and known by its pixels from then on.

use std::collections::BTreeMap;
use std::sync::Arc;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{BatchOutcome, Lister, QuarantinedRow, ROW, RowWork, TableDecl, WorkContext, WorkError};
use polars::prelude::*;

use super::config::CollectConfig;
use crate::benchmark::{Guard, Marks};
use crate::picture::{Fault, Picture};
use crate::source::{Reader, frame};

/// The table: what is known of each picture, without its bytes.
pub(super) const TABLE: &str = "scanned";

/// Its declaration.
pub(super) fn table() -> TableDecl {
    let columns = [
        ("key", DataType::String),
        ("file", DataType::String),
        ("offset", DataType::UInt64),
        ("n_bytes", DataType::UInt64),
        ("class", DataType::String),
        ("caption", DataType::String),
        ("subject_id", DataType::String),
        ("licence", DataType::String),
        ("source", DataType::String),
        ("fault", DataType::String),
        ("reference_id", DataType::String),
        ("file_digest", DataType::String),
        ("split", DataType::String),
        ("width_px", DataType::UInt32),
        ("height_px", DataType::UInt32),
    ];
    let columns = columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype));
    TableDecl { name: TABLE.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// Lists the source.
pub(super) struct Pictures(pub(super) Reader);

impl Lister for Pictures {
    fn list(&self, _: &WorkContext) -> Result<DataFrame, WorkError> {
        frame(self.0.list()?)
    }
}

/// Decodes pictures.
pub(super) struct Scan {
    pub(super) reader: Reader,
    pub(super) config: Arc<CollectConfig>,
    pub(super) guard: Guard,
}

/// What the pixels tell.
struct Scanned {
    reference_id: String,
    file_digest: String,
    width_px: u32,
    height_px: u32,
}

impl Scan {
    fn scan(&self, bytes: Result<Vec<u8>, Fault>, unseen: &Marks) -> Result<Scanned, Fault> {
        let bytes = bytes?;
        let picture = Picture::decode(&bytes, &self.config.limits, self.config.alpha)?;
        unseen.check(&picture)?;
        Ok(Scanned {
            reference_id: picture.reference_id(),
            file_digest: Digest::of(&bytes).to_hex(),
            width_px: picture.pixels.width(),
            height_px: picture.pixels.height(),
        })
    }
}

impl RowWork for Scan {
    fn row_id(&self) -> &str {
        "key"
    }

    fn batch_rows(&self) -> usize {
        16
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let mut outcome = BatchOutcome::default();
        let unseen = self.guard.marks()?;
        let (mut kept, mut scanned): (Vec<u32>, Vec<Scanned>) = (Vec::new(), Vec::new());
        for (row, bytes) in (0..).zip(self.reader.read(rows, &self.config.limits)?) {
            context.cancel.check()?;
            match self.scan(bytes, unseen) {
                Ok(picture) => {
                    kept.push(row);
                    scanned.push(picture);
                }
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let mut table = rows.take(&IdxCa::from_vec("row".into(), kept.clone()))?;
        for (name, default) in
            [("class", &self.config.class), ("licence", &self.config.licence), ("source", &self.config.source_name)]
        {
            fill(&mut table, name, |_| default.clone())?;
        }
        fill(&mut table, "subject_id", |at| scanned.get(at).map(|picture| picture.reference_id.clone()))?;
        let splits: StringChunked = table
            .column("subject_id")?
            .str()?
            .iter()
            .map(|subject| subject.map(|subject| self.config.splits.of(subject)))
            .collect();
        let text = |name: &str, value: fn(&Scanned) -> &String| {
            Column::new(name.into(), scanned.iter().map(|picture| value(picture).as_str()).collect::<Vec<&str>>())
        };
        let number = |name: &str, value: fn(&Scanned) -> u32| {
            Column::new(name.into(), scanned.iter().map(value).collect::<Vec<u32>>())
        };
        for column in [
            splits.with_name("split".into()).into_column(),
            text("reference_id", |picture| &picture.reference_id),
            text("file_digest", |picture| &picture.file_digest),
            number("width_px", |picture| picture.width_px),
            number("height_px", |picture| picture.height_px),
            Column::new(ROW.into(), kept),
        ] {
            table.with_column(column)?;
        }
        outcome.tables = BTreeMap::from([(TABLE.to_owned(), table)]);
        Ok(outcome)
    }
}

/// Puts a value where a text column has none.
fn fill(table: &mut DataFrame, name: &str, value: impl Fn(usize) -> Option<String>) -> Result<(), WorkError> {
    let filled: StringChunked = table
        .column(name)?
        .str()?
        .iter()
        .enumerate()
        .map(|(at, text)| text.map(ToOwned::to_owned).or_else(|| value(at)))
        .collect();
    table.with_column(filled.with_name(name.into()).into_column())?;
    Ok(())
}
