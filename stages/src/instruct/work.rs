//! Pairs for a batch of references.

use std::collections::{BTreeMap, HashMap};

use cafe_pipeline::stage::{BatchOutcome, ErrorClass, FanOut, QuarantinedRow, ROW, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::census;
use super::config::{InstructConfig, Pairing};
use super::draw;
use super::templates::{Family, Template, Templates};
use crate::{ids, tables};

/// Draws instructions.
pub(super) struct Instruct {
    config: InstructConfig,
    templates: Templates,
}

/// The pairs made so far, by column.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    columns: [Vec<String>; 7],
}

const COLUMNS: [&str; 7] = ["pair_id", "reference_id", "instruction_id", "family", "class", "instruction", "caption"];

impl Pairs {
    fn push(&mut self, row: u32, values: [String; 7]) {
        self.rows.push(row);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    fn table(self) -> PolarsResult<DataFrame> {
        let n_rows = self.rows.len();
        let columns = COLUMNS.iter().zip(self.columns).map(|(name, values)| Column::new((*name).into(), values));
        DataFrame::new(n_rows, columns.chain([Column::new(ROW.into(), self.rows)]).collect())
    }
}

impl Instruct {
    pub(super) fn new(config: InstructConfig, templates: Templates) -> Self {
        Self { config, templates }
    }

    fn draw<'a>(
        &'a self,
        context: &WorkContext,
        reference_id: &str,
        class: &'a str,
        rank: Option<u64>,
    ) -> Vec<(&'a Family, &'a Template)> {
        let seed = context.seed.child("instruct");
        let n = self.config.per_reference as usize;
        match self.config.pairing {
            Pairing::Random => draw::random(&self.templates, class, seed.child(reference_id), n),
            Pairing::Balanced => draw::balanced(&self.templates, class, seed, rank.unwrap_or_default(), n),
        }
    }
}

impl RowWork for Instruct {
    fn row_id(&self) -> &str {
        "reference_id"
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["reference_id".to_owned(), "class".to_owned()])
    }

    /// Texts are small, and the ranks are read for each batch.
    fn batch_rows(&self) -> usize {
        65_536
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn prepare(&self, context: &WorkContext, mut rows: DataFrame) -> Result<DataFrame, WorkError> {
        if self.config.pairing == Pairing::Random {
            return Ok(rows);
        }
        let ranks = context.table(census::TABLE, None)?;
        let (ids, numbers) = (ranks.column("reference_id")?.str()?, ranks.column("rank")?.u64()?);
        let ranks: HashMap<&str, u64> =
            ids.iter().zip(numbers.iter()).filter_map(|(id, rank)| Some((id?, rank?))).collect();
        let found: Vec<Option<u64>> =
            rows.column("reference_id")?.str()?.iter().map(|id| ranks.get(id?).copied()).collect();
        rows.with_column(Column::new("rank".into(), found))?;
        Ok(rows)
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let (ids, classes) = (rows.column("reference_id")?.str()?, rows.column("class")?.str()?);
        let ranks = rows.column("rank").ok().map(|ranks| ranks.u64()).transpose()?;
        let mut outcome = BatchOutcome::default();
        let mut pairs = Pairs::default();
        for (at, (id, class)) in ids.iter().zip(classes.iter()).enumerate() {
            let row = u32::try_from(at).unwrap_or(u32::MAX);
            let mut fault = |message: String| {
                outcome.quarantined.push(QuarantinedRow { row, class: ErrorClass::Invalid, message });
            };
            let id = id.unwrap_or_default();
            let Some(class) = class.or(self.config.class_default.as_deref()) else {
                fault("has no class: add it to the source's metadata, or set class_default".to_owned());
                continue;
            };
            let n_suitable = self.templates.for_class(class).count();
            if n_suitable < self.config.per_reference as usize {
                let wanted = self.config.per_reference;
                fault(format!("{n_suitable} templates suit the class `{class}`, per_reference is {wanted}"));
                continue;
            }
            for (family, template) in self.draw(context, id, class, ranks.and_then(|ranks| ranks.get(at))) {
                let (instruction, caption) = template.fill(class);
                let pair_id = ids::pair_id(id, &template.instruction_id, &instruction, &caption);
                let instruction_id = template.instruction_id.clone();
                pairs.push(
                    row,
                    [
                        pair_id,
                        id.to_owned(),
                        instruction_id,
                        family.name.clone(),
                        class.to_owned(),
                        instruction,
                        caption,
                    ],
                );
            }
        }
        outcome.tables = BTreeMap::from([(tables::PAIRS.to_owned(), pairs.table()?)]);
        Ok(outcome)
    }
}
