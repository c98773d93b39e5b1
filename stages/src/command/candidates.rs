//! Columns of `candidates` that a program may leave out, and how they are filled.

use std::collections::HashMap;

use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::WorkError;
use polars::prelude::*;

use crate::ids::candidate_ids;

/// The columns that can be filled; `pair_id` and `image` never.
const FILLED: [&str; 9] = [
    "candidate_id",
    "w_id",
    "generator",
    "weights_digest",
    "settings_digest",
    "round",
    "alpha",
    "sample_index",
    "seed",
];

/// Fills the columns of `candidates` that a program left out.
#[derive(Clone, Debug)]
pub(super) struct Derive {
    /// Digest of the stage's settings.
    pub(super) settings_digest: String,
}

impl Derive {
    /// Whether a program may leave out column `name`.
    pub(super) fn can_fill(&self, name: &str) -> bool {
        FILLED.contains(&name)
    }

    /// `output` with all columns of `candidates`; `rows` says which input row each of its rows was made from.
    pub(super) fn fill(&self, mut output: DataFrame, rows: &[u32], seed: Seed) -> Result<DataFrame, WorkError> {
        let n = output.height();
        let text = |name: &str, value: Option<&str>| Column::new(name.into(), vec![value; n]);
        for name in FILLED.into_iter().filter(|name| *name != "candidate_id") {
            if output.column(name).is_ok() {
                continue;
            }
            let column = match name {
                "generator" => text(name, Some("command")),
                "settings_digest" => text(name, Some(&self.settings_digest)),
                "round" => Column::new(name.into(), vec![0_u32; n]),
                "alpha" => Column::full_null(name.into(), n, &DataType::Float64),
                "sample_index" => Column::new(name.into(), sample_indices(rows)),
                "seed" => Column::full_null(name.into(), n, &DataType::UInt64),
                _ => text(name, None),
            };
            output.with_column(column)?;
        }
        if output.column("candidate_id").is_err() {
            let ids = candidate_ids(&output, seed)?;
            output.with_column(Column::new("candidate_id".into(), ids))?;
        }
        Ok(output)
    }
}

/// Counts the rows made of each input row, in the order in which the program wrote them.
fn sample_indices(rows: &[u32]) -> Vec<u32> {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    rows.iter()
        .map(|row| {
            let count = counts.entry(*row).or_default();
            *count += 1;
            *count - 1
        })
        .collect()
}
