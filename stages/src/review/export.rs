//! The list of what waits for a person: a CSV file to fill in, and pictures.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cafe_pipeline::plan::PlanNode;
use cafe_pipeline::query::{NodeTable, QueryError, QuerySource, ROW_NUMBER, collect};
use polars::prelude::*;

use super::cell::escape;
use super::record;
use super::sheet::{COLUMNS, Sheet, is_id};
use crate::picture::{Alpha, Limits, Picture};
use crate::tables;

/// The name of the list in its folder.
pub const SHEET: &str = "verdicts.csv";
/// The folder of pictures beside it.
const IMAGES: &str = "images";
/// Columns that help to judge, and are not read again.
const HELP: [&str; 7] = ["instruction", "caption", "class", "clip", "dino", "reference_image", "target_image"];

/// Why no list could be written.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// A table cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A table is not what its name promises.
    #[error("a table cannot be read: {0}; if a shard is damaged, `audit --verify` finds it")]
    Table(#[from] PolarsError),
    /// A file cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
    /// Pictures that a person has to see were dropped; nothing was written.
    #[error("pictures of candidates that wait for a verdict were not kept (`keep_rejects`)")]
    Dropped {
        /// The shards that had them.
        shards: Vec<i64>,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Candidates in the list.
    pub n_rows: u64,
    /// Pictures that cannot be shown: missing or damaged.
    pub n_without_picture: u64,
}

/// A row of a table, by its id.
struct Row<'t> {
    part: &'t NodeTable<'t>,
    number: u64,
    /// The columns asked for, in their order.
    values: Vec<Option<String>>,
}

/// The ids of all candidates that `node` judges.
///
/// # Errors
/// A table that cannot be read.
pub fn candidates(source: &QuerySource, node: &PlanNode) -> Result<BTreeSet<String>, ReviewError> {
    let all = source.node_tables()?;
    Ok(rows(&read_by(&all, node, tables::CANDIDATES), "candidate_id", &[])?.into_keys().collect())
}

/// Writes what `node` waits for into `folder`: a row for each candidate that the filters above accept and `sheet` does not
/// have, in the order of ids, and its pictures.
///
/// # Errors
/// See [`ReviewError`]; a list that is there already is not overwritten, since somebody may be filling it in.
pub fn export(source: &QuerySource, node: &PlanNode, sheet: &Sheet, folder: &Path) -> Result<Exported, ReviewError> {
    let all = source.node_tables()?;
    let candidates = rows(&read_by(&all, node, tables::CANDIDATES), "candidate_id", &["pair_id"])?;
    let words = ["reference_id", "instruction", "caption", "class"];
    let pairs = rows(&read_by(&all, node, tables::PAIRS), "pair_id", &words)?;
    let of = |table: &str| all.iter().filter(|part| part.table == table).collect::<Vec<_>>();
    let references = rows(&of(tables::REFERENCES), "reference_id", &[])?;
    let scores = [scores(&of(tables::SCORES), "clip")?, scores(&of(tables::SCORES), "dino")?];
    let gates = gates(&read_by(&all, node, tables::VERDICTS))?;

    let mut listed = Vec::new();
    let mut ids: Vec<&String> = candidates.keys().filter(|id| is_id(id) && !sheet.has(id)).collect();
    ids.sort();
    for id in ids {
        let Some(candidate) = candidates.get(id) else { continue };
        let pair_id = value(candidate, 0);
        let pair = pair_id.and_then(|id| pairs.get(id));
        let reference_id = pair.and_then(|pair| value(pair, 0));
        let keys = [("candidate_id", Some(id.as_str())), ("pair_id", pair_id), ("reference_id", reference_id)];
        let is_accepted = |(column, accepted): &(&str, BTreeSet<String>)| {
            keys.iter().any(|(name, id)| name == column && id.is_some_and(|id| accepted.contains(id)))
        };
        if gates.iter().all(is_accepted) {
            listed.push((id, candidate, pair, reference_id));
        }
    }
    require_pictures(listed.iter().map(|(_, candidate, ..)| *candidate))?;

    let images = folder.join(IMAGES);
    fs::create_dir_all(&images).map_err(|error| ReviewError::Write(images.clone(), error))?;
    let path = folder.join(SHEET);
    // Taken before pictures are written for nothing.
    fs::File::create_new(&path).map_err(|error| ReviewError::Write(path.clone(), error))?;
    let mut exported = Exported::default();
    let mut text = String::new();
    record::write(&mut text, &COLUMNS.into_iter().chain(HELP).collect::<Vec<_>>());
    for (id, candidate, pair, reference_id) in listed {
        let mut fields: Vec<String> = vec![id.clone(), String::new(), String::new(), String::new(), String::new()];
        let told = (1..4).map(|at| pair.and_then(|pair| value(pair, at)).unwrap_or_default());
        fields.extend(told.map(|text| escape(text).into_owned()));
        fields.extend(scores.iter().map(|scores| scores.get(id).cloned().unwrap_or_default()));
        let pictures = [("reference", reference_id.and_then(|id| references.get(id))), ("target", Some(candidate))];
        for (side, row) in pictures {
            let name = format!("{id}.{side}.png");
            match row.and_then(png) {
                Some(bytes) => {
                    let path = images.join(&name);
                    fs::write(&path, bytes).map_err(|error| ReviewError::Write(path, error))?;
                    fields.push(format!("{IMAGES}/{name}"));
                }
                None => {
                    exported.n_without_picture += 1;
                    fields.push(String::new());
                }
            }
        }
        record::write(&mut text, &fields);
        exported.n_rows += 1;
    }
    fs::write(&path, text).map_err(|error| ReviewError::Write(path, error))?;
    Ok(exported)
}

/// A thumbnail is not what a person is to judge: names the shards of all `rows` that have no more than that.
fn require_pictures<'r>(rows: impl Iterator<Item = &'r Row<'r>>) -> Result<(), ReviewError> {
    let mut shards = BTreeSet::new();
    for row in rows {
        if row.part.is_dropped(row.number)? {
            shards.extend(row.part.place(row.number).map(|(shard, _)| shard.shard_id));
        }
    }
    if shards.is_empty() { Ok(()) } else { Err(ReviewError::Dropped { shards: shards.into_iter().collect() }) }
}

fn value<'r>(row: &'r Row<'_>, at: usize) -> Option<&'r str> {
    row.values.get(at)?.as_deref()
}

/// The parts of `table` that `node` reads.
fn read_by<'t>(all: &'t [NodeTable<'t>], node: &PlanNode, table: &str) -> Vec<&'t NodeTable<'t>> {
    let from: BTreeSet<&str> = node
        .reads
        .iter()
        .filter(|read| read.table == table)
        .flat_map(|read| read.from.iter().map(String::as_str))
        .collect();
    all.iter().filter(|part| part.table == table && from.contains(part.node.as_str())).collect()
}

/// Rows by their ids.
fn rows<'t>(parts: &[&'t NodeTable<'t>], id: &str, columns: &[&str]) -> Result<HashMap<String, Row<'t>>, ReviewError> {
    let mut found = HashMap::new();
    for &part in parts.iter().filter(|part| part.columns.contains(id)) {
        let wanted = columns.iter().map(|name| {
            let value = if part.columns.contains(name) { col(*name) } else { lit(NULL) };
            value.cast(DataType::String).alias(*name)
        });
        let wanted: Vec<Expr> = wanted.chain([col(id), col(ROW_NUMBER).cast(DataType::UInt64)]).collect();
        let picked = collect(part.rows()?.select(wanted))?;
        let texts: PolarsResult<Vec<&StringChunked>> = columns.iter().map(|name| picked.column(name)?.str()).collect();
        let texts = texts?;
        let numbers = picked.column(ROW_NUMBER)?.u64()?;
        for (at, (key, number)) in picked.column(id)?.str()?.iter().zip(numbers.iter()).enumerate() {
            let (Some(key), Some(number)) = (key, number) else { continue };
            let values = texts.iter().map(|text| text.get(at).map(ToOwned::to_owned)).collect();
            found.entry(key.to_owned()).or_insert(Row { part, number, values });
        }
    }
    Ok(found)
}

/// One score of candidates, as text.
fn scores(parts: &[&NodeTable<'_>], name: &str) -> Result<HashMap<String, String>, ReviewError> {
    let mut found = HashMap::new();
    for part in parts.iter().filter(|part| part.columns.contains("candidate_id") && part.columns.contains(name)) {
        let wanted = [col("candidate_id"), col(name).cast(DataType::Float64)];
        let picked = collect(part.rows()?.select(wanted))?;
        let ids = picked.column("candidate_id")?.str()?;
        for (id, score) in ids.iter().zip(picked.column(name)?.f64()?.iter()) {
            if let (Some(id), Some(score)) = (id, score) {
                found.insert(id.to_owned(), format!("{score:.4}"));
            }
        }
    }
    Ok(found)
}

/// What each filter above accepts: the column of ids, and the ids.
fn gates(parts: &[&NodeTable<'_>]) -> Result<Vec<(&'static str, BTreeSet<String>)>, ReviewError> {
    let mut gates = Vec::new();
    for part in parts {
        let known = ["candidate_id", "pair_id", "reference_id"].into_iter();
        let Some(id) = known.into_iter().find(|id| part.columns.contains(id)) else { continue };
        let accepted = collect(part.rows()?.filter(col("accepted")).select([col(id)]))?;
        let accepted = accepted.column(id)?.str()?.iter().flatten().map(ToOwned::to_owned).collect();
        gates.push((id, accepted));
    }
    Ok(gates)
}

/// The row's picture as a PNG file; `None` where there is none that can be decoded.
fn png(row: &Row<'_>) -> Option<Vec<u8>> {
    let read = row.part.row(row.number, Some(&["image".to_owned()])).ok()?;
    let bytes = read.column("image").ok()?.struct_().ok()?.field_by_name("bytes").ok()?;
    let bytes = bytes.binary().ok()?.get(0)?;
    Picture::decode(bytes, &Limits::default(), Alpha::Keep).ok()?.to_png().ok()
}
