//! Ids of rows that are made from text: derived from content, so that the same row has the same id in every run.

use cafe_pipeline::digest::{Hasher, Seed};
use cafe_pipeline::stage::id_text;
use polars::prelude::*;

/// The columns that make up a candidate's id, besides the run's seed.
const CANDIDATE: [&str; 6] = ["pair_id", "w_id", "settings_digest", "weights_digest", "alpha", "sample_index"];

/// The id of an instruction: a pair of templates within a family.
#[must_use]
pub fn instruction_id(family: &str, instruction_template: &str, caption_template: &str) -> String {
    Hasher::new("instruction/v1")
        .text("family", family)
        .text("instruction", instruction_template)
        .text("caption", caption_template)
        .row_id()
}

/// The id of a pair: a reference and an instruction, with the words that the templates became.
#[must_use]
pub fn pair_id(reference_id: &str, instruction_id: &str, instruction: &str, caption: &str) -> String {
    Hasher::new("pair/v1")
        .text("reference_id", reference_id)
        .text("instruction_id", instruction_id)
        .text("instruction", instruction)
        .text("caption", caption)
        .row_id()
}

/// The id of a published row: what is published, of which `id` is in the column `id_column`, and what is said about it.
#[must_use]
pub fn quadruplet_id(id_column: &str, id: &str, y: Option<&str>, y_tilde: Option<&str>) -> String {
    let hasher = Hasher::new("quadruplet/v1").text(id_column, id);
    let said = [("y", y), ("y_tilde", y_tilde)].into_iter().filter_map(|(name, text)| Some((name, text?)));
    said.fold(hasher, |hasher, (name, text)| hasher.text(name, text)).row_id()
}

/// The ids of candidates, from the other columns of their table.
///
/// # Errors
/// A column that is missing.
pub fn candidate_ids(candidates: &DataFrame, seed: Seed) -> PolarsResult<Vec<String>> {
    let columns: PolarsResult<Vec<&Column>> = CANDIDATE.iter().map(|name| candidates.column(name)).collect();
    let columns = columns?;
    (0..candidates.height())
        .map(|at| {
            let mut hasher = Hasher::new("candidate/v1").number("seed", seed.0);
            for (name, column) in CANDIDATE.iter().zip(&columns) {
                let value = column.get(at)?;
                // A missing value differs from an empty one.
                hasher = if value.is_null() { hasher.text("null", name) } else { hasher.text(name, &id_text(&value)) };
            }
            Ok(hasher.row_id())
        })
        .collect()
}
