//! A reference with all its pairs becomes rows of four tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{
    BatchOutcome, DuplicateRow, ErrorClass, FanOut, QuarantinedRow, ROW, RowWork, WorkContext, WorkError,
};
use polars::prelude::*;

use super::FAMILY;
use super::config::ImportConfig;
use super::scan::Scanned;
use super::sides::{Side, Sides};
use crate::benchmark::Marks;
use crate::picture::Fault;
use crate::{ids, tables};

/// Reads the pixels again and writes the tables.
pub(super) struct Finish {
    pub(super) sides: Sides,
    pub(super) config: Arc<ImportConfig>,
}

/// A pair with its pictures.
struct Made {
    /// Position of its reference in the batch.
    row: u32,
    pair: Scanned,
    reference: Side,
    target: Side,
}

impl Finish {
    /// All pairs of one reference, or the first fault: a reference without some of its pairs would be lost silently.
    fn make(&self, row: u32, pairs: Vec<Scanned>) -> Result<Vec<Made>, Fault> {
        let places: Vec<_> = pairs.iter().map(|pair| pair.places.clone()).collect();
        let encoded = self.sides.read(&places, &self.config);
        pairs
            .into_iter()
            .zip(encoded)
            .map(|(pair, encoded)| {
                // What has to stay unseen was kept out by the scan.
                let (reference, target) = encoded?.sides(&pair.places, &self.config, &Marks::default())?;
                if (&reference.file_digest, &target.file_digest) != (&pair.file_digests.0, &pair.file_digests.1) {
                    let message = format!("{} was changed after it was scanned: run it again", pair.key);
                    return Err(Fault::new(ErrorClass::Unreadable, message));
                }
                Ok(Made { row, pair, reference, target })
            })
            .collect()
    }
}

impl RowWork for Finish {
    fn row_id(&self) -> &str {
        "key"
    }

    /// A reference may have many pairs.
    fn batch_rows(&self) -> usize {
        8
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let mut outcome = BatchOutcome::default();
        let (duplicate_of, pairs) = (rows.column("duplicate_of")?.str()?, rows.column("pairs")?.str()?);
        let mut made = Vec::new();
        for (row, (of, pairs)) in (0_u32..).zip(duplicate_of.iter().zip(pairs.iter())) {
            context.cancel.check()?;
            if let Some(of) = of {
                outcome.duplicates.push(DuplicateRow { row, of: of.to_owned() });
                continue;
            }
            let pairs: Vec<Scanned> = serde_json::from_str(pairs.unwrap_or_default())
                .map_err(|error| WorkError::Systemic(format!("the listing is damaged: {error}")))?;
            match self.make(row, pairs) {
                Ok(mut pairs) => made.append(&mut pairs),
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let mut candidates = candidates(&made)?;
        let candidate_ids = ids::candidate_ids(&candidates, context.seed)?;
        candidates.with_column(Column::new("candidate_id".into(), candidate_ids.as_slice()))?;
        outcome.tables = BTreeMap::from([
            (tables::REFERENCES.to_owned(), references(&made)?),
            (tables::PAIRS.to_owned(), pairs_of(&made)?),
            (tables::CANDIDATE_REFERENCES.to_owned(), candidate_references(&made, &candidate_ids)?),
            (tables::CANDIDATES.to_owned(), candidates),
        ]);
        Ok(outcome)
    }
}

fn text<'a>(name: &str, made: &[&'a Made], value: impl Fn(&'a Made) -> Option<&'a str>) -> Column {
    Column::new(name.into(), made.iter().map(|made| value(made)).collect::<Vec<Option<&str>>>())
}

fn number(name: &str, made: &[&Made], value: impl Fn(&Made) -> u32) -> Column {
    Column::new(name.into(), made.iter().map(|made| value(made)).collect::<Vec<u32>>())
}

fn image<'a>(
    made: &[&'a Made],
    bytes: fn(&'a Made) -> &'a [u8],
    path: fn(&'a Made) -> &'a str,
) -> PolarsResult<Column> {
    let bytes = BinaryChunked::from_iter_values("bytes".into(), made.iter().map(|made| bytes(made)));
    let path = StringChunked::from_iter_values("path".into(), made.iter().map(|made| path(made)));
    let parts = [bytes.into_series(), path.into_series()];
    Ok(StructChunked::from_series("image".into(), made.len(), parts.iter())?.into_column())
}

/// The first of each id, in order.
fn once(made: &[Made], id: fn(&Made) -> &str) -> Vec<&Made> {
    let mut seen = BTreeSet::new();
    made.iter().filter(|made| seen.insert(id(made).to_owned())).collect()
}

/// What is said of a reference is what its first pair says.
fn references(made: &[Made]) -> PolarsResult<DataFrame> {
    let made = once(made, |made| &made.pair.reference_id);
    DataFrame::new(
        made.len(),
        vec![
            text("reference_id", &made, |made| Some(&made.pair.reference_id)),
            text("file_digest", &made, |made| Some(&made.pair.file_digests.0)),
            text("subject_id", &made, |made| Some(&made.pair.subject_id)),
            text("class", &made, |made| made.pair.class.as_deref()),
            text("caption", &made, |made| made.pair.reference_caption.as_deref()),
            text("source", &made, |made| made.pair.source.as_deref()),
            text("licence", &made, |made| made.pair.licence.as_deref()),
            text("split", &made, |made| Some(&made.pair.split)),
            number("width_px", &made, |made| made.pair.width_px),
            number("height_px", &made, |made| made.pair.height_px),
            image(&made, |made| &made.reference.bytes, |made| &made.pair.places.0.file)?,
            number(ROW, &made, |made| made.row),
        ],
    )
}

fn pairs_of(made: &[Made]) -> PolarsResult<DataFrame> {
    let made = once(made, |made| &made.pair.pair_id);
    DataFrame::new(
        made.len(),
        vec![
            text("pair_id", &made, |made| Some(&made.pair.pair_id)),
            text("reference_id", &made, |made| Some(&made.pair.reference_id)),
            text("instruction_id", &made, |made| Some(&made.pair.instruction_id)),
            text("family", &made, |_| Some(FAMILY)),
            text("class", &made, |made| made.pair.class.as_deref()),
            text("instruction", &made, |made| Some(&made.pair.instruction)),
            text("caption", &made, |made| Some(&made.pair.caption)),
            number(ROW, &made, |made| made.row),
        ],
    )
}

/// All columns but the id.
fn candidates(made: &[Made]) -> PolarsResult<DataFrame> {
    let made: Vec<&Made> = made.iter().collect();
    // What made a picture that was not made here is known by nothing but the picture.
    let settings = made
        .iter()
        .map(|made| Hasher::new("import-settings/v1").text("target_id", &made.pair.target_id).row_id())
        .collect::<Vec<String>>();
    DataFrame::new(
        made.len(),
        vec![
            text("pair_id", &made, |made| Some(&made.pair.pair_id)),
            text("w_id", &made, |_| None),
            text("generator", &made, |_| Some(super::KIND)),
            text("weights_digest", &made, |_| None),
            Column::new("settings_digest".into(), settings),
            number("round", &made, |_| 0),
            Column::full_null("alpha".into(), made.len(), &DataType::Float64),
            number("sample_index", &made, |_| 0),
            Column::full_null("seed".into(), made.len(), &DataType::UInt64),
            image(&made, |made| &made.target.bytes, |made| &made.pair.places.1.file)?,
            number(ROW, &made, |made| made.row),
        ],
    )
}

fn candidate_references(made: &[Made], candidate_ids: &[String]) -> PolarsResult<DataFrame> {
    let made: Vec<&Made> = made.iter().collect();
    DataFrame::new(
        made.len(),
        vec![
            Column::new("candidate_id".into(), candidate_ids),
            number("slot", &made, |_| 0),
            text("reference_id", &made, |made| Some(&made.pair.reference_id)),
            number(ROW, &made, |made| made.row),
        ],
    )
}
