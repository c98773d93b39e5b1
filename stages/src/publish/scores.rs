//! The scores of the chosen rows, from every stage upstream that writes `scores`.

use std::collections::{BTreeMap, HashMap};

use cafe_pipeline::frame;
use cafe_pipeline::stage::{InputShard, WorkContext, WorkError};
use polars::prelude::*;

use super::config::{ScoresConfig, Subject, id_column};
use super::select::Chosen;
use super::table::{score_type, scores_type};
use crate::tables;

/// Name → a score per chosen row; not a number where it has none.
pub(super) type Scores = BTreeMap<String, Vec<f64>>;

/// Reads the scores of `chosen`. Scores of the published table keep their names; those of a table that it refers to are
/// preceded by what they are about: `reference_sharpness`.
pub(super) fn read(
    context: &WorkContext,
    of: Subject,
    wanted: &ScoresConfig,
    chosen: &[Chosen],
) -> Result<Scores, WorkError> {
    let mut scores = Scores::new();
    if !wanted.any() {
        return Ok(scores);
    }
    let chain = of.chain();
    let mut positions: Vec<Option<HashMap<&str, Vec<usize>>>> = chain.iter().map(|_| None).collect();
    for shard in context.shards(tables::SCORES) {
        context.cancel.check()?;
        let schema = schema(context, shard)?;
        let level = chain.iter().position(|table| schema.contains(id_column(table)));
        let Some((level, table)) = level.and_then(|level| Some((level, chain.get(level)?))) else { continue };
        let names: Vec<&str> = schema
            .iter()
            .filter(|(name, dtype)| (dtype.is_primitive_numeric() || dtype.is_bool()) && wanted.takes(name))
            .map(|(name, _)| name.as_str())
            .collect();
        let columns: Vec<String> =
            std::iter::once(id_column(table)).chain(names.iter().copied()).map(Into::into).collect();
        let rows = context.read(shard, Some(&columns))?;
        let Some(places) = positions.get_mut(level) else { continue };
        let places = &*places.get_or_insert_with(|| positions_of(chosen, level));
        let ids = rows.column(id_column(table))?.str()?;
        for name in names {
            let published = if level == 0 { name.to_owned() } else { format!("{}_{name}", singular(table)) };
            let values = rows.column(name)?.cast(&DataType::Float64)?;
            let taken = scores.entry(published).or_insert_with(|| vec![f64::NAN; chosen.len()]);
            for (id, value) in ids.iter().zip(values.f64()?.iter()) {
                let (Some(id), Some(value)) = (id, value.filter(|value| value.is_finite())) else { continue };
                for place in places.get(id).into_iter().flatten() {
                    let Some(place) = taken.get_mut(*place) else { continue };
                    if !place.is_nan() {
                        return Err(twice(shard, name, id));
                    }
                    *place = value;
                }
            }
        }
    }
    Ok(scores)
}

fn schema(context: &WorkContext, shard: &InputShard) -> Result<Schema, WorkError> {
    let damaged = |message: String| WorkError::Damaged { shard_id: shard.shard_id, path: shard.path.clone(), message };
    let file = context.storage.open(&shard.path).map_err(|error| damaged(error.to_string()))?;
    frame::columns(file).map_err(|error| damaged(error.to_string()))
}

fn positions_of(chosen: &[Chosen], level: usize) -> HashMap<&str, Vec<usize>> {
    let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, chosen) in chosen.iter().enumerate() {
        if let Some(id) = chosen.ids.get(level) {
            positions.entry(id).or_default().push(place);
        }
    }
    positions
}

fn singular(table: &str) -> &str {
    table.strip_suffix('s').unwrap_or(table)
}

fn twice(shard: &InputShard, name: &str, id: &str) -> WorkError {
    WorkError::Systemic(format!(
        "row {id} has the score `{name}` from `{}` and from another stage before it: give one of the columns another \
         name, or list the `scores` to publish",
        shard.node
    ))
}

/// A row's scores as text for the listing, a line each. Text, because a listing is hashed by its values' texts, and a
/// number's may be rounded; this one is exact.
pub(super) fn encode(scores: &Scores, row: usize) -> String {
    let mut text = String::new();
    for (name, values) in scores {
        if let Some(value) = values.get(row).filter(|value| !value.is_nan()) {
            // A line break would end the name early.
            text.push_str(&format!("{value} {}\n", name.replace(['\n', '\r'], " ")));
        }
    }
    text
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(text: &str) -> Vec<(&str, f64)> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(value, name)| Some((name, value.parse().ok()?)))
        .collect()
}

/// Scores of several rows as a column.
pub(super) fn to_column(name: &str, rows: &[Vec<(&str, f64)>]) -> Result<Column, WorkError> {
    let lists: Result<Vec<AnyValue<'_>>, PolarsError> = rows
        .iter()
        .map(|scores| {
            let names: Vec<&str> = scores.iter().map(|(name, _)| *name).collect();
            let values: Vec<f64> = scores.iter().map(|(_, value)| *value).collect();
            let fields = [Series::new("name".into(), names), Series::new("value".into(), values)];
            let list = StructChunked::from_series("".into(), scores.len(), fields.iter())?.into_series();
            Ok(AnyValue::List(list.cast(&score_type())?))
        })
        .collect();
    Ok(Series::from_any_values_and_dtype(name.into(), &lists?, &scores_type(), true)?.into())
}

/// Reads what [`to_column`] made.
pub(super) fn from_column(column: &Column) -> Result<Vec<Vec<(String, f64)>>, WorkError> {
    let lists = column.list()?;
    let mut rows = Vec::with_capacity(lists.len());
    for index in 0..lists.len() {
        let Some(list) = lists.get_as_series(index) else {
            rows.push(Vec::new());
            continue;
        };
        let fields = list.struct_()?;
        let (names, values) = (fields.field_by_name("name")?, fields.field_by_name("value")?);
        let pairs = names.str()?.iter().zip(values.f64()?.iter());
        rows.push(pairs.filter_map(|(name, value)| Some((name?.to_owned(), value?))).collect());
    }
    Ok(rows)
}
