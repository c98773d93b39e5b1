//! The census of a balanced stage: which number a reference has within its class.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cafe_pipeline::stage::{TableDecl, WholeOutcome, WholeWork, WorkContext, WorkError};
use polars::prelude::*;

use super::template::class_key;
use super::work::class_of;
use crate::tables;

/// The table that the census writes.
pub(super) const CENSUS: &str = "census";
/// A reference's number within its class, from 0; null where it has no class.
pub(super) const RANK: &str = "rank";

/// `census`: one row per reference.
pub(super) fn table() -> TableDecl {
    let columns = [Field::new("reference_id".into(), DataType::String), Field::new(RANK.into(), DataType::UInt32)];
    TableDecl { name: CENSUS.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// Numbers the references of each class in the order of their ids, so that shards do not matter.
pub(super) struct Census {
    pub(super) class_default: Option<String>,
}

impl WholeWork for Census {
    fn run(&self, context: &WorkContext) -> Result<WholeOutcome, WorkError> {
        let rows = context.table(tables::REFERENCES, Some(&["reference_id", "class"]))?;
        let ids = rows.column("reference_id")?.str()?;
        let classes = rows.column("class")?.str()?;
        let mut numbered: Vec<(&str, Option<String>)> = ids
            .iter()
            .zip(classes.iter())
            .filter_map(|(id, class)| Some((id?, class_of(class, self.class_default.as_deref()).map(class_key))))
            .collect();
        numbered.sort_unstable();
        let mut next: HashMap<&str, u32> = HashMap::new();
        let mut ranks: Vec<Option<u32>> = Vec::with_capacity(numbered.len());
        for (_, class) in &numbered {
            ranks.push(class.as_deref().map(|class| {
                let next = next.entry(class).or_default();
                let rank = *next;
                *next += 1;
                rank
            }));
        }
        let ids: Vec<&str> = numbered.iter().map(|(id, _)| *id).collect();
        let census =
            DataFrame::new(ids.len(), vec![Column::new("reference_id".into(), ids), Column::new(RANK.into(), ranks)])?;
        Ok(WholeOutcome {
            tables: BTreeMap::from([(CENSUS.to_owned(), census)]),
            n_in: rows.height() as u64,
            ..WholeOutcome::default()
        })
    }
}

/// `rows` with their ranks added.
pub(super) fn join(context: &WorkContext, mut rows: DataFrame) -> Result<DataFrame, WorkError> {
    let census = context.table(CENSUS, None)?;
    let (ids, ranks) = (census.column("reference_id")?.str()?, census.column(RANK)?.u32()?);
    let ranks: HashMap<&str, u32> = ids.iter().zip(ranks.iter()).filter_map(|(id, rank)| Some((id?, rank?))).collect();
    let found: Vec<Option<u32>> =
        rows.column("reference_id")?.str()?.iter().map(|id| ranks.get(id?).copied()).collect();
    rows.with_column(Column::new(RANK.into(), found))?;
    Ok(rows)
}
