//! Every pair is decoded once, and its reference, target and words are known by their ids from then on.

use std::collections::BTreeMap;
use std::sync::Arc;

use cafe_pipeline::stage::{BatchOutcome, ErrorClass, QuarantinedRow, ROW, RowWork, TableDecl, WorkContext, WorkError};
use polars::prelude::*;
use serde::{Deserialize, Serialize};

use super::FAMILY;
use super::config::ImportConfig;
use super::list::TEXTS;
use super::sides::{Place, Sides};
use crate::benchmark::{Guard, Marks};
use crate::ids;
use crate::picture::Fault;

/// The table: what is known of each pair, without its pixels.
pub(super) const TABLE: &str = "scanned_pairs";

/// Its declaration. `pair` is a [`Scanned`] in JSON.
pub(super) fn table() -> TableDecl {
    let columns = ["key", "reference_id", "candidate_key", "pair"];
    let columns = columns.into_iter().map(|name| Field::new(name.into(), DataType::String));
    TableDecl { name: TABLE.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// What is known of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scanned {
    pub(super) key: String,
    pub(super) places: (Place, Place),
    pub(super) reference_id: String,
    pub(super) target_id: String,
    pub(super) file_digests: (String, String),
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    pub(super) pair_id: String,
    pub(super) instruction_id: String,
    pub(super) instruction: String,
    pub(super) caption: String,
    pub(super) reference_caption: Option<String>,
    pub(super) class: Option<String>,
    pub(super) subject_id: String,
    pub(super) licence: Option<String>,
    pub(super) source: Option<String>,
    pub(super) split: String,
}

/// Decodes pairs.
pub(super) struct Scan {
    pub(super) sides: Sides,
    pub(super) config: Arc<ImportConfig>,
    pub(super) guard: Guard,
}

/// A row of the listing.
struct Row {
    key: String,
    places: (Place, Place),
    texts: BTreeMap<&'static str, String>,
    fault: Option<String>,
}

impl Scan {
    fn rows(&self, rows: &DataFrame) -> PolarsResult<Vec<Row>> {
        let (keys, faults) = (rows.column("key")?.str()?, rows.column("fault")?.str()?);
        let offsets = rows.column("offset")?.u64()?;
        // Of a Parquet file only its rows are pictures; its size tells nothing of theirs.
        let is_folder = matches!(self.config.source, super::config::ImportSource::Folder { .. });
        let place = |role: &str| -> PolarsResult<Vec<Place>> {
            let files = rows.column(&format!("{role}_file"))?.str()?;
            let sizes = rows.column(&format!("{role}_file_bytes"))?.u64()?;
            Ok((0..rows.height())
                .map(|at| Place {
                    file: files.get(at).unwrap_or_default().to_owned(),
                    offset: offsets.get(at).unwrap_or_default(),
                    n_bytes: sizes.get(at).filter(|_| is_folder),
                })
                .collect())
        };
        let texts: PolarsResult<Vec<(&str, &StringChunked)>> =
            TEXTS.iter().map(|name| Ok((*name, rows.column(name)?.str()?))).collect();
        let texts = texts?;
        let places = place("reference")?.into_iter().zip(place("target")?);
        Ok(places
            .enumerate()
            .map(|(at, places)| Row {
                key: keys.get(at).unwrap_or_default().to_owned(),
                places,
                texts: texts.iter().filter_map(|(name, text)| Some((*name, text.get(at)?.to_owned()))).collect(),
                fault: faults.get(at).map(ToOwned::to_owned),
            })
            .collect())
    }

    fn scan(&self, row: Row, encoded: Result<super::sides::Encoded, Fault>, unseen: &Marks) -> Result<Scanned, Fault> {
        let Row { key, places, mut texts, fault } = row;
        if let Some(fault) = fault {
            return Err(Fault::new(ErrorClass::Unreadable, fault));
        }
        let (reference, target) = encoded?.sides(&places, &self.config, unseen)?;
        let (instruction, caption) = match (texts.remove("instruction"), texts.remove("caption")) {
            (Some(instruction), Some(caption)) => (instruction, caption),
            (Some(text), None) | (None, Some(text)) => (text.clone(), text),
            (None, None) => {
                return Err(Fault::new(ErrorClass::Invalid, "has neither an instruction nor a caption"));
            }
        };
        let instruction_id = ids::instruction_id(FAMILY, &instruction, &caption);
        let subject_id = texts.remove("subject_id").unwrap_or_else(|| reference.id.clone());
        let mut or = |name: &str, default: &Option<String>| texts.remove(name).or_else(|| default.clone());
        Ok(Scanned {
            pair_id: ids::pair_id(&reference.id, &instruction_id, &instruction, &caption),
            split: self.config.splits.of(&subject_id).to_owned(),
            class: or("class", &self.config.class),
            licence: or("licence", &self.config.licence),
            source: or("source", &self.config.source_name),
            reference_caption: or("reference_caption", &None),
            key,
            places,
            reference_id: reference.id,
            target_id: target.id,
            file_digests: (reference.file_digest, target.file_digest),
            width_px: reference.width_px,
            height_px: reference.height_px,
            instruction_id,
            instruction,
            caption,
            subject_id,
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
        let rows = self.rows(rows)?;
        // A row that is known to be at fault may name a file that must not be opened.
        let sound: Vec<(Place, Place)> =
            rows.iter().filter(|row| row.fault.is_none()).map(|row| row.places.clone()).collect();
        let mut encoded = self.sides.read(&sound, &self.config).into_iter();
        let (mut kept, mut scanned): (Vec<u32>, Vec<Scanned>) = (Vec::new(), Vec::new());
        for (at, row) in (0..).zip(rows) {
            context.cancel.check()?;
            let unread = || Err(Fault::new(ErrorClass::Unreadable, "was not read"));
            let encoded = if row.fault.is_none() { encoded.next().unwrap_or_else(unread) } else { unread() };
            match self.scan(row, encoded, unseen) {
                Ok(pair) => {
                    kept.push(at);
                    scanned.push(pair);
                }
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row: at, class, message }),
            }
        }
        let json: Result<Vec<String>, _> = scanned.iter().map(serde_json::to_string).collect();
        let json = json.map_err(|error| WorkError::Systemic(format!("cannot keep what was scanned: {error}")))?;
        let candidate_keys: Vec<String> =
            scanned.iter().map(|pair| format!("{}{}", pair.pair_id, pair.target_id)).collect();
        let text = |name: &str, value: fn(&Scanned) -> &str| {
            Column::new(name.into(), scanned.iter().map(value).collect::<Vec<&str>>())
        };
        let columns = vec![
            text("key", |pair| &pair.key),
            text("reference_id", |pair| &pair.reference_id),
            Column::new("candidate_key".into(), candidate_keys),
            Column::new("pair".into(), json),
            Column::new(ROW.into(), kept),
        ];
        outcome.tables = BTreeMap::from([(TABLE.to_owned(), DataFrame::new(scanned.len(), columns)?)]);
        Ok(outcome)
    }
}
