//! All pairs of a reference together: a reference stands once, and in the same shard as its pairs and candidates, so
//! that later stages find it there.

use std::collections::HashMap;

use cafe_pipeline::catalog::QuarantineEntry;
use cafe_pipeline::stage::{Lister, WorkContext, WorkError};
use polars::prelude::*;

use super::scan;
use crate::benchmark::{Benchmark, objection};

/// One row for each reference, with its pairs as a JSON list, in the order in which the references come first; and one
/// for each pair that stands a second time, with the first. None of them, where one of these benchmarks has kept something
/// out that stops the stage.
pub(super) struct ByReference(pub(super) Vec<Benchmark>);

/// A row to be.
struct Group<'a> {
    key: &'a str,
    pairs: Vec<&'a str>,
    duplicate_of: Option<&'a str>,
}

impl Lister for ByReference {
    fn list(&self, context: &WorkContext) -> Result<DataFrame, WorkError> {
        let rows = context.table(scan::TABLE, None)?;
        let text = |name: &str| rows.column(name).and_then(|column| column.str());
        let (keys, references) = (text("key")?, text("reference_id")?);
        let (candidates, pairs) = (text("candidate_key")?, text("pair")?);
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        let mut first: HashMap<&str, &str> = HashMap::with_capacity(rows.height());
        for row in 0..rows.height() {
            let value = |column: &'_ StringChunked| column.get(row).is_some();
            if ![keys, references, candidates, pairs].into_iter().all(value) {
                return Err(WorkError::Systemic(format!("row {row} of `{}` has a null", scan::TABLE)));
            }
            let (key, reference) = (keys.get(row).unwrap_or_default(), references.get(row).unwrap_or_default());
            let (candidate, pair) = (candidates.get(row).unwrap_or_default(), pairs.get(row).unwrap_or_default());
            if let Some(original) = first.get(candidate) {
                groups.push(Group { key, pairs: Vec::new(), duplicate_of: Some(original) });
                continue;
            }
            first.insert(candidate, key);
            match group_of.get(reference).and_then(|at| groups.get_mut(*at)) {
                Some(group) => group.pairs.push(pair),
                None => {
                    group_of.insert(reference, groups.len());
                    groups.push(Group { key, pairs: vec![pair], duplicate_of: None });
                }
            }
        }
        let column = |name: &str, values: Vec<Option<String>>| Column::new(name.into(), values);
        let some = |value: &str| Some(value.to_owned());
        Ok(DataFrame::new(
            groups.len(),
            vec![
                column("key", groups.iter().map(|group| some(group.key)).collect()),
                column("duplicate_of", groups.iter().map(|group| group.duplicate_of.and_then(some)).collect()),
                column("pairs", groups.iter().map(|group| Some(format!("[{}]", group.pairs.join(",")))).collect()),
            ],
        )?)
    }

    fn is_complete(&self) -> bool {
        true
    }

    fn objection(&self, quarantined: &[QuarantineEntry]) -> Option<String> {
        objection(&self.0, quarantined)
    }
}
