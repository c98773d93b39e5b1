//! The scores of the rows to be judged, from every scorer upstream.

use std::collections::HashMap;

use cafe_pipeline::frame;
use cafe_pipeline::stage::{InputShard, WorkContext, WorkError};
use polars::prelude::*;

use crate::tables;

/// Adds `columns` of `scores` to `rows`; null where a row has no such score.
pub(super) fn add(
    context: &WorkContext,
    mut rows: DataFrame,
    id_column: &str,
    columns: &[String],
) -> Result<DataFrame, WorkError> {
    let ids: HashMap<String, usize> = rows
        .column(id_column)?
        .str()?
        .iter()
        .enumerate()
        .map(|(at, id)| (id.unwrap_or_default().to_owned(), at))
        .collect();
    let mut found: HashMap<&str, Column> = HashMap::new();
    for shard in context.shards(tables::SCORES) {
        let wanted = wanted(context, shard, id_column, columns)?;
        if wanted.len() < 2 {
            continue;
        }
        let scores = context.read(shard, Some(&wanted))?;
        let mut places: Vec<Option<IdxSize>> = vec![None; rows.height()];
        for (at, id) in (0..).zip(scores.column(id_column)?.str()?.iter()) {
            if let Some(place) = ids.get(id.unwrap_or_default()).and_then(|place| places.get_mut(*place)) {
                *place = Some(at);
            }
        }
        let places: IdxCa = places.into_iter().collect();
        for name in columns.iter().filter(|name| wanted.contains(name)) {
            if found.insert(name, scores.column(name)?.take(&places)?).is_some() {
                return Err(WorkError::Systemic(format!(
                    "two stages write the score `{name}`, {} among them: give one of them another name",
                    shard.node
                )));
            }
        }
    }
    for name in columns {
        let missing = || Column::full_null(name.as_str().into(), rows.height(), &DataType::Float64);
        let column = found.remove(name.as_str()).unwrap_or_else(missing);
        rows.with_column(column)?;
    }
    Ok(rows)
}

/// The id column and those of `columns` that a shard has; nothing when its scores are about other rows.
fn wanted(
    context: &WorkContext,
    shard: &InputShard,
    id_column: &str,
    columns: &[String],
) -> Result<Vec<String>, WorkError> {
    let damaged = |message: String| WorkError::Damaged { shard_id: shard.shard_id, path: shard.path.clone(), message };
    let file = context.storage.open(&shard.path).map_err(|error| damaged(error.to_string()))?;
    let schema = frame::columns(file).map_err(|error| damaged(error.to_string()))?;
    if !schema.contains(id_column) {
        return Ok(Vec::new());
    }
    let has = |name: &&str| schema.contains(name);
    Ok(std::iter::once(id_column)
        .chain(columns.iter().map(String::as_str))
        .filter(has)
        .map(ToOwned::to_owned)
        .collect())
}
