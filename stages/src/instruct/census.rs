//! The rank of each reference within its class, for balanced draws.

use std::collections::BTreeMap;
use std::sync::Arc;

use cafe_pipeline::stage::{TableDecl, WholeOutcome, WholeWork, WorkContext, WorkError};
use polars::prelude::*;

use crate::tables;

/// The table of ranks.
pub(super) const TABLE: &str = "ranks";

/// Its declaration.
pub(super) fn table() -> TableDecl {
    let columns = [("reference_id", DataType::String), ("rank", DataType::UInt64)];
    let columns = columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype));
    TableDecl { name: TABLE.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// Counts references by class.
pub(super) struct Census {
    pub(super) class_default: Option<String>,
}

impl WholeWork for Census {
    fn run(&self, context: &WorkContext) -> Result<WholeOutcome, WorkError> {
        let rows = context.table(tables::REFERENCES, Some(&["reference_id", "class"]))?;
        let (ids, classes) = (rows.column("reference_id")?.str()?, rows.column("class")?.str()?);
        // By id, so that the rank does not depend on the order of files.
        let mut by_class: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, class) in ids.iter().zip(classes.iter()) {
            let class = class.or(self.class_default.as_deref());
            if let (Some(id), Some(class)) = (id, class) {
                by_class.entry(class).or_default().push(id);
            }
        }
        let (mut ids, mut ranks) = (Vec::new(), Vec::new());
        for members in by_class.values_mut() {
            members.sort_unstable();
            ids.extend(members.iter().copied());
            ranks.extend(0..members.len() as u64);
        }
        let table = df!("reference_id" => ids, "rank" => ranks)?;
        let tables = [(TABLE.to_owned(), table)].into();
        Ok(WholeOutcome { tables, n_in: rows.height() as u64, ..WholeOutcome::default() })
    }
}
