//! References in, pairs out.

use std::collections::BTreeMap;

use cafe_pipeline::stage::{BatchOutcome, ErrorClass, FanOut, QuarantinedRow, ROW, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::book::Book;
use super::census::{self, RANK};
use super::config::Pairing;
use super::template::class_key;
use super::{draw, words};
use crate::{ids, tables};

/// The work of an `instruct` node.
pub(super) struct InstructWork {
    pub(super) book: Book,
    pub(super) per_reference: usize,
    pub(super) pairing: Pairing,
    pub(super) class_default: Option<String>,
}

/// The columns of `pairs`, being filled.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    columns: [Vec<String>; 7],
}

impl RowWork for InstructWork {
    fn row_id(&self) -> &str {
        "reference_id"
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["reference_id".to_owned(), "class".to_owned()])
    }

    fn batch_rows(&self) -> usize {
        8_192
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn expected_fan_out(&self) -> f64 {
        self.per_reference as f64
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        match self.pairing {
            Pairing::Random => Ok(rows),
            Pairing::Balanced => census::join(context, rows),
        }
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let references = rows.column("reference_id")?.str()?;
        let classes = rows.column("class")?.str()?;
        let ranks: Vec<Option<u32>> = match self.pairing {
            Pairing::Random => vec![None; rows.height()],
            Pairing::Balanced => rows.column(RANK)?.u32()?.iter().collect(),
        };
        let mut outcome = BatchOutcome::default();
        let mut pairs = Pairs::default();
        for (row, ((reference, class), rank)) in (0..).zip(references.iter().zip(classes.iter()).zip(ranks)) {
            if let Err(message) = self.instruct(context, row, reference, class, rank, &mut pairs) {
                outcome.quarantined.push(QuarantinedRow { row, class: ErrorClass::Invalid, message });
            }
        }
        outcome.tables = BTreeMap::from([(tables::PAIRS.to_owned(), pairs.into_frame()?)]);
        Ok(outcome)
    }
}

impl InstructWork {
    fn instruct(
        &self,
        context: &WorkContext,
        row: u32,
        reference: Option<&str>,
        class: Option<&str>,
        rank: Option<u32>,
        pairs: &mut Pairs,
    ) -> Result<(), String> {
        let reference = reference.ok_or("the row has no `reference_id`")?;
        let class = class_of(class, self.class_default.as_deref()).ok_or(
            "the reference has no class: give it one in the sidecar of its collection, or set `class_default` here",
        )?;
        let suited = self.book.suited(class);
        if suited.is_empty() {
            return Err(format!(
                "no family of the templates is for the class `{class}`: name it in `classes`, or add a family for \"*\""
            ));
        }
        let seed = context.seed.child("instruct");
        let drawn = match self.pairing {
            Pairing::Random => draw::random(seed.child(reference), &suited, self.per_reference),
            Pairing::Balanced => {
                let rank = rank.ok_or("the census does not know the reference")?;
                let seed = seed.child("class").child(&class_key(class));
                draw::balanced(seed, &suited, rank, self.per_reference)
            }
        };
        for (family, template) in drawn {
            let instruction = words::render(&template.instruction, class);
            let caption = words::render(&template.caption, class);
            let id = ids::pair_id(reference, &template.instruction_id, &instruction, &caption);
            let values = [&id, reference, &template.instruction_id, family, class, &instruction, &caption];
            pairs.push(row, values);
        }
        Ok(())
    }
}

impl Pairs {
    fn push(&mut self, row: u32, values: [&str; 7]) {
        self.rows.push(row);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value.to_owned());
        }
    }

    fn into_frame(self) -> PolarsResult<DataFrame> {
        let n_rows = self.rows.len();
        let names = tables::pairs().columns;
        let mut columns: Vec<Column> =
            names.iter_names().zip(self.columns).map(|(name, values)| Column::new(name.clone(), values)).collect();
        columns.push(Column::new(ROW.into(), self.rows));
        DataFrame::new(n_rows, columns)
    }
}

/// A reference's class, or the default where it has none.
pub(super) fn class_of<'a>(class: Option<&'a str>, default: Option<&'a str>) -> Option<&'a str> {
    class.map(str::trim).filter(|class| !class.is_empty()).or(default)
}
