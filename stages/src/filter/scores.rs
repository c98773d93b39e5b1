//! Scores of several scorers, joined to the rows of a batch by id.

use std::collections::HashMap;

use cafe_pipeline::stage::{InputShard, WorkContext, WorkError, id_text};
use polars::prelude::*;

use crate::tables;

/// `rows` with the score columns `names` added: null where a scorer has no such row, and for NaN.
pub(super) fn join(
    context: &WorkContext,
    mut rows: DataFrame,
    id_column: &str,
    names: &[String],
) -> Result<DataFrame, WorkError> {
    let ids = rows.column(id_column)?.clone();
    let mut found: HashMap<&str, (&InputShard, Column)> = HashMap::new();
    for shard in context.shards(tables::SCORES) {
        context.cancel.check()?;
        let present = columns_of(context, shard)?;
        // Scores of other rows, such as those of references for a filter of candidates, are not for this filter.
        if !present.contains(id_column) {
            continue;
        }
        let wanted: Vec<&String> = names.iter().filter(|name| present.contains(name)).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut columns = vec![id_column.to_owned()];
        columns.extend(wanted.iter().map(|name| (*name).clone()));
        let scores = context.read(shard, Some(&columns))?;
        let positions = positions(&ids, scores.column(id_column)?);
        for name in wanted {
            let column = known(scores.column(name)?.take(&positions)?)?;
            let column = match found.remove(name.as_str()) {
                None => column,
                Some((other, _)) if other.node != shard.node => {
                    return Err(WorkError::Systemic(format!(
                        "score `{name}` is written by both {} and {}: rename the column of one of them",
                        other.node, shard.node
                    )));
                }
                Some((_, before)) => {
                    let before = before.as_materialized_series();
                    before.zip_with(&before.is_not_null(), column.as_materialized_series())?.into()
                }
            };
            found.insert(name, (shard, column));
        }
    }
    for name in names {
        let Some((_, column)) = found.remove(name.as_str()) else {
            return Err(WorkError::Systemic(format!(
                "no scorer of these rows writes `{name}` beside `{id_column}`: scores of other tables cannot be used here"
            )));
        };
        rows.with_column(column)?;
    }
    Ok(rows)
}

fn columns_of(context: &WorkContext, shard: &InputShard) -> Result<Schema, WorkError> {
    let damaged = |message: String| WorkError::Damaged { shard_id: shard.shard_id, path: shard.path.clone(), message };
    let file = context.storage.open(&shard.path).map_err(|error| damaged(error.to_string()))?;
    cafe_pipeline::frame::columns(file).map_err(|error| damaged(error.to_string()))
}

/// For each of `ids` its position among `others`.
fn positions(ids: &Column, others: &Column) -> IdxCa {
    let others = others.as_materialized_series();
    let positions: HashMap<String, IdxSize> = others.iter().zip(0..).map(|(id, at)| (id_text(&id), at)).collect();
    ids.as_materialized_series().iter().map(|id| positions.get(&id_text(&id)).copied()).collect()
}

/// NaN as null: a comparison with NaN would hold in one direction.
fn known(column: Column) -> PolarsResult<Column> {
    if !column.dtype().is_float() {
        return Ok(column);
    }
    let series = column.as_materialized_series();
    let null = Series::full_null(series.name().clone(), series.len(), series.dtype());
    Ok(series.zip_with(&series.is_not_nan()?, &null)?.into())
}
