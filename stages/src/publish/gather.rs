//! Single rows out of large shards, without holding the shards.

use std::collections::BTreeMap;

use cafe_pipeline::frame;
use cafe_pipeline::stage::{InputShard, WorkContext, WorkError};
use polars::prelude::*;

use super::select::At;

/// Rows read at once, on a fixed grid: few enough for their pixels to fit into memory, enough for neighbours to share
/// the work of unpacking.
pub(super) const WINDOW_ROWS: usize = 256;

/// `n_rows` rows of `shard` from `offset` on.
pub(super) fn slice(
    context: &WorkContext,
    shard: &InputShard,
    offset: usize,
    n_rows: usize,
) -> Result<DataFrame, WorkError> {
    let damaged = |message: String| WorkError::Damaged { shard_id: shard.shard_id, path: shard.path.clone(), message };
    let n_bytes = context.storage.size(&shard.path).map_err(|error| damaged(error.to_string()))?;
    if n_bytes != shard.n_bytes {
        return Err(damaged(format!("has {n_bytes} bytes, {} were committed", shard.n_bytes)));
    }
    let file = context.storage.open(&shard.path).map_err(|error| damaged(error.to_string()))?;
    let rows = frame::read_slice(file, offset, n_rows, None).map_err(|error| damaged(error.to_string()))?;
    if rows.height() == n_rows {
        Ok(rows)
    } else {
        Err(damaged(format!("has {} rows from row {offset} on, {n_rows} were expected", rows.height())))
    }
}

/// Names all shards that must be made again before the pictures at these places of `table` can be read.
pub(super) fn require_pictures(
    context: &WorkContext,
    table: &str,
    places: impl Iterator<Item = At>,
) -> Result<(), WorkError> {
    let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for at in places {
        wanted.entry(at.shard).or_default().push(at.row);
    }
    let mut needed = Vec::new();
    for (shard, rows) in wanted {
        // Who reads it says so where there is no such shard.
        let Some(shard) = context.shards(table).get(shard as usize) else { continue };
        let dropped = context.dropped(shard)?;
        if rows.iter().any(|row| dropped.has(u64::from(*row))) {
            needed.push(shard.shard_id);
        }
    }
    if needed.is_empty() { Ok(()) } else { Err(WorkError::Dropped { table: table.to_owned(), shards: needed }) }
}

/// The rows of `table` at these places, in this order; a row may be asked for more than once.
pub(super) fn gather(context: &WorkContext, table: &str, places: &[At]) -> Result<DataFrame, WorkError> {
    require_pictures(context, table, places.iter().copied())?;
    let shards = context.shards(table);
    let mut windows: BTreeMap<(u32, usize), Vec<(usize, usize)>> = BTreeMap::new();
    for (place, at) in places.iter().enumerate() {
        let row = at.row as usize;
        windows.entry((at.shard, row / WINDOW_ROWS)).or_default().push((row, place));
    }
    let mut gathered: Option<DataFrame> = None;
    let mut order: Vec<IdxSize> = vec![0; places.len()];
    for ((shard, _), rows) in windows {
        context.cancel.check()?;
        let shard = shards.get(shard as usize).ok_or_else(|| {
            WorkError::Systemic(format!("the listing names shard {shard} of `{table}`, which has {}", shards.len()))
        })?;
        let first = rows.iter().map(|(row, _)| *row).min().unwrap_or(0);
        let last = rows.iter().map(|(row, _)| *row).max().unwrap_or(first);
        let window = slice(context, shard, first, last - first + 1)?;
        let n_before = gathered.as_ref().map_or(0, DataFrame::height);
        let mut picks: Vec<IdxSize> = Vec::new();
        for (row, place) in rows {
            if let Some(order) = order.get_mut(place) {
                *order = (n_before + picks.len()) as IdxSize;
            }
            picks.push((row - first) as IdxSize);
        }
        let picked = owned(&window.take(&IdxCa::from_vec("row".into(), picks))?)?;
        match &mut gathered {
            Some(gathered) => {
                gathered.vstack_mut(&picked)?;
            }
            None => gathered = Some(picked),
        }
    }
    let gathered = gathered.ok_or_else(|| WorkError::Systemic(format!("no rows of `{table}` were asked for")))?;
    Ok(gathered.take(&IdxCa::from_vec("row".into(), order))?)
}

/// The rows with texts and bytes of their own. Rows taken out of a frame share its memory: one picture kept would keep
/// all its neighbours.
pub(super) fn owned(rows: &DataFrame) -> Result<DataFrame, PolarsError> {
    let columns: Result<Vec<Column>, PolarsError> =
        rows.columns().iter().map(|column| Ok(owned_series(column.as_materialized_series())?.into_column())).collect();
    DataFrame::new(rows.height(), columns?)
}

fn owned_series(series: &Series) -> Result<Series, PolarsError> {
    let name = series.name().clone();
    Ok(match series.dtype() {
        DataType::String => series.str()?.iter().collect::<StringChunked>().with_name(name).into_series(),
        DataType::Binary => series.binary()?.iter().collect::<BinaryChunked>().with_name(name).into_series(),
        DataType::Struct(_) => {
            let parts: Result<Vec<Series>, PolarsError> =
                series.struct_()?.fields_as_series().iter().map(owned_series).collect();
            StructChunked::from_series(name, series.len(), parts?.iter())?.into_series()
        }
        _ => series.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn pixels(rows: &DataFrame) -> BinaryChunked {
        rows.column("image").unwrap().struct_().unwrap().field_by_name("bytes").unwrap().binary().unwrap().clone()
    }

    #[test]
    fn rows_come_in_the_order_asked_for_and_hold_no_more_than_themselves() {
        let shard = |offset: usize| {
            let pictures: Vec<Vec<u8>> = (0..600).map(|row| vec![(offset + row) as u8; 1000]).collect();
            let parts =
                [Series::new("bytes".into(), pictures), Series::full_null("path".into(), 600, &DataType::String)];
            let images = StructChunked::from_series("image".into(), 600, parts.iter()).unwrap();
            DataFrame::new(600, vec![images.into_series().into_column()]).unwrap()
        };
        let mut bench = Bench::new();
        bench.put("references", vec![shard(0), shard(7)]);
        let at = |shard, row| At { shard, row };
        let places = [at(1, 599), at(0, 0), at(0, 255), at(1, 256), at(0, 0)];
        let rows = gather(&bench.context(), "references", &places).unwrap();
        let found: Vec<u8> = pixels(&rows).iter().map(|bytes| bytes.unwrap()[999]).collect();
        assert_eq!(found, [(599 + 7) as u8, 0, 255, (256 + 7) as u8, 0]);
        let held: usize = pixels(&rows).downcast_iter().map(|array| array.total_buffer_len()).sum();
        assert!(held < 10_000, "{held}");
        assert!(gather(&bench.context(), "references", &[at(2, 0)]).is_err());
        assert!(gather(&bench.context(), "references", &[at(0, 600)]).is_err());
    }

    #[test]
    fn missing_pictures_stay_missing() {
        let parts =
            [Series::new("bytes".into(), [Some(b"x".as_slice()), None]), Series::new("path".into(), [None, Some("p")])];
        let images = StructChunked::from_series("image".into(), 2, parts.iter()).unwrap().into_series().into_column();
        let rows = DataFrame::new(2, vec![images, Column::new("n".into(), [1_u32, 2])]).unwrap();
        assert!(owned(&rows).unwrap().equals_missing(&rows));
    }
}
