//! The listing of accepted rows: ids, where each row and what it refers to stand, and scores. Pixels are read later, by
//! the shards that pack them.

use std::sync::Arc;

use cafe_pipeline::stage::{Lister, WorkContext, WorkError};
use polars::prelude::*;

use super::config::{PublishConfig, id_column};
use super::gather::require_pictures;
use super::said::Said;
use super::scores;
use super::select::{At, select};

/// Lists accepted rows.
pub(super) struct ListAccepted {
    pub(super) config: Arc<PublishConfig>,
}

impl Lister for ListAccepted {
    fn list(&self, context: &WorkContext) -> Result<DataFrame, WorkError> {
        let of = self.config.of;
        let chosen = select(context, &self.config)?.chosen;
        // Known here of all rows at once, so that what was dropped is made again in one go, by as many workers as there are.
        for (level, table) in of.chain().iter().enumerate() {
            require_pictures(context, table, chosen.iter().filter_map(|row| row.at.get(level).copied()))?;
        }
        let scores = scores::read(context, of, &self.config.scores, &chosen)?;
        let mut columns = Vec::new();
        for (level, table) in of.chain().iter().enumerate() {
            let ids: StringChunked = chosen.iter().map(|row| row.ids.get(level).map(String::as_str)).collect();
            columns.push(ids.with_name(id_column(table).into()).into_column());
            let part = |name: &str, of: fn(&At) -> u32| -> Column {
                let values: UInt32Chunked = chosen.iter().map(|row| row.at.get(level).map(of)).collect();
                values.with_name(name.into()).into_column()
            };
            columns.push(part(&shard_column(table), |at| at.shard));
            columns.push(part(&row_column(table), |at| at.row));
        }
        // What is said is short: it is in the listing itself. Without dialogues the listing is as it always was.
        if chosen.iter().any(|row| row.said.is_some()) {
            let said = |of: fn(&Said) -> &String| -> StringChunked {
                chosen.iter().map(|row| row.said.as_ref().map(|said| of(said).as_str())).collect()
            };
            columns.push(said(|said| &said.y).with_name("y".into()).into_column());
            columns.push(said(|said| &said.y_tilde).with_name("y_tilde".into()).into_column());
        }
        let texts: Vec<String> = (0..chosen.len()).map(|row| scores::encode(&scores, row)).collect();
        columns.push(Column::new(super::table::SCORES.into(), texts));
        Ok(DataFrame::new(chosen.len(), columns)?)
    }
}

fn shard_column(table: &str) -> String {
    format!("{table}_shard")
}

fn row_column(table: &str) -> String {
    format!("{table}_row")
}

/// Where the rows of `table` stand that `rows` of the listing refer to.
pub(super) fn positions(rows: &DataFrame, table: &str) -> Result<Vec<At>, WorkError> {
    let (shards, positions) = (rows.column(&shard_column(table))?.u32()?, rows.column(&row_column(table))?.u32()?);
    shards
        .iter()
        .zip(positions.iter())
        .map(|(shard, row)| Some(At { shard: shard?, row: row? }))
        .collect::<Option<Vec<At>>>()
        .ok_or_else(|| WorkError::Systemic(format!("the listing has no position in `{table}` for one of its rows")))
}
