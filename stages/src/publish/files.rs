//! The Parquet files of a release, filled in one pass over `quadruplets`.

use std::collections::BTreeMap;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::frame;
use cafe_pipeline::stage::{WorkContext, WorkError};
use polars::prelude::*;
use serde::{Deserialize, Serialize};

use super::arrow_schema;
use super::config::Subject;
use super::cut::Cut;
use super::features::{METADATA_KEY, metadata, release_columns, to_release};
use super::gather::{WINDOW_ROWS, owned, slice};
use crate::place::Placer;
use crate::tables;

/// A file of a release, as `release.json` lists it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FileRecord {
    /// Relative to the release's folder.
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) split: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) n_rows: Option<u64>,
    pub(crate) n_bytes: u64,
    pub(crate) digest: Digest,
}

/// Writes the files of `cut`. In memory are at once: a window of rows, and per split the file that is being filled.
pub(super) fn write(
    context: &WorkContext,
    placer: &Placer<'_>,
    of: Subject,
    scores: &[String],
    cut: &Cut,
) -> Result<Vec<FileRecord>, WorkError> {
    let columns = release_columns(of, scores);
    let features = metadata(&columns);
    let schema = arrow_schema::encode(&columns, &[(METADATA_KEY, &features)]);
    let metadata = [(arrow_schema::KEY, schema.as_str()), (METADATA_KEY, features.as_str())];
    let mut records = Vec::new();
    let mut finish = |file: usize, mut rows: DataFrame| -> Result<(), WorkError> {
        let Some(file) = cut.files.get(file) else { return Ok(()) };
        let bytes = frame::to_parquet(&mut rows, &metadata)?;
        let digest = placer.place(&file.path, &bytes)?;
        records.push(FileRecord {
            path: file.path.clone(),
            split: Some(file.split.clone()),
            n_rows: Some(file.n_rows),
            n_bytes: bytes.len() as u64,
            digest,
        });
        Ok(())
    };
    let mut filling: BTreeMap<u32, DataFrame> = BTreeMap::new();
    let mut file_of = cut.file_of.as_slice();
    for shard in context.shards(tables::QUADRUPLETS) {
        let height = usize::try_from(shard.n_rows).unwrap_or(usize::MAX);
        for offset in (0..height).step_by(WINDOW_ROWS) {
            context.cancel.check()?;
            let n_rows = WINDOW_ROWS.min(height - offset);
            let window = to_release(&slice(context, shard, offset, n_rows)?, of, scores)?;
            let (files, rest) = file_of.split_at_checked(n_rows).ok_or_else(|| {
                WorkError::Systemic(format!("`{}` has more rows than were counted a moment ago", shard.path))
            })?;
            file_of = rest;
            let mut parts: BTreeMap<u32, Vec<IdxSize>> = BTreeMap::new();
            for (row, file) in (0..).zip(files) {
                parts.entry(*file).or_default().push(row);
            }
            for (file, rows) in parts {
                let part = owned(&window.take(&IdxCa::from_vec("row".into(), rows))?)?;
                let rows = match filling.remove(&file) {
                    Some(mut rows) => {
                        rows.vstack_mut(&part)?;
                        rows
                    }
                    None => part,
                };
                let wanted = cut.files.get(file as usize).map_or(0, |file| file.n_rows);
                if rows.height() as u64 == wanted {
                    finish(file as usize, rows)?;
                } else {
                    filling.insert(file, rows);
                }
            }
        }
    }
    if cut.file_of.is_empty() {
        let schema = Schema::from_iter(columns.iter().map(|(name, dtype)| Field::new(name.into(), dtype.clone())));
        finish(0, DataFrame::empty_with_schema(&schema))?;
    }
    records.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(records)
}
