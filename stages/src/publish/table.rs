//! The table `quadruplets`: its columns, and where each comes from.

use std::sync::Arc;

use cafe_pipeline::stage::TableDecl;
use polars::prelude::*;

use super::config::{Subject, id_column};
use crate::tables::{self, CANDIDATES, PAIRS, REFERENCES};

/// Size of the row's encoded pictures; decides in which file of the release it stands.
pub(super) const IMAGE_BYTES: &str = "image_bytes";
/// Digest of the row's other values, pixels included; what the release is named by.
pub(super) const CONTENT_DIGEST: &str = "content_digest";
/// The scores of the row.
pub(super) const SCORES: &str = "scores";

/// A column of `quadruplets`.
pub(super) struct PackedColumn {
    pub(super) name: &'static str,
    pub(super) dtype: DataType,
    /// The table and column it is copied from; `None` where it is made here.
    pub(super) from: Option<(&'static str, &'static str)>,
}

/// The type of the column of scores: their names depend on the data, and the columns of a shard may not.
pub(super) fn scores_type() -> DataType {
    DataType::List(Box::new(score_type()))
}

/// A score.
pub(super) fn score_type() -> DataType {
    DataType::Struct(vec![Field::new("name".into(), DataType::String), Field::new("value".into(), DataType::Float64)])
}

/// The columns, in order. Those of a table that is not in the chain of `of` are left out.
pub(super) fn packed_columns(of: Subject) -> Vec<PackedColumn> {
    let chain = of.chain();
    let mut columns = Vec::new();
    let mut add = |name, dtype, from| columns.push(PackedColumn { name, dtype, from });
    let (text, number) = (DataType::String, DataType::UInt32);
    let has = |table| chain.contains(&table);

    add("quadruplet_id", text.clone(), None);
    for table in chain {
        add(id_column(table), text.clone(), Some((table, id_column(table))));
    }
    add("subject_id", text.clone(), Some((REFERENCES, "subject_id")));
    add("class", text.clone(), Some((REFERENCES, "class")));
    if has(PAIRS) {
        add("family", text.clone(), Some((PAIRS, "family")));
    }
    if has(CANDIDATES) {
        add("round", number, Some((CANDIDATES, "round")));
        add("alpha", DataType::Float64, Some((CANDIDATES, "alpha")));
        add("seed", DataType::UInt64, Some((CANDIDATES, "seed")));
        add("generator", text.clone(), Some((CANDIDATES, "generator")));
        add("weights_digest", text.clone(), Some((CANDIDATES, "weights_digest")));
    }
    if has(PAIRS) {
        // Without dialogues the user says the instruction, and the assistant says nothing.
        add("y", text.clone(), Some((PAIRS, "instruction")));
        add("y_tilde", text.clone(), None);
        add("caption", text.clone(), Some((PAIRS, "caption")));
    } else {
        add("caption", text.clone(), Some((REFERENCES, "caption")));
    }
    add("split", text.clone(), None);
    add("licence", text.clone(), Some((REFERENCES, "licence")));
    add("source", text.clone(), Some((REFERENCES, "source")));
    add(SCORES, scores_type(), None);
    add("reference_image", tables::image_type(), Some((REFERENCES, "image")));
    if has(CANDIDATES) {
        add("target_image", tables::image_type(), Some((CANDIDATES, "image")));
    }
    add(IMAGE_BYTES, DataType::UInt64, None);
    add(CONTENT_DIGEST, text, None);
    columns
}

/// `quadruplets`: accepted rows with all that belongs to them.
pub(super) fn quadruplets(of: Subject) -> TableDecl {
    let columns = packed_columns(of).into_iter().map(|column| Field::new(column.name.into(), column.dtype));
    TableDecl { name: tables::QUADRUPLETS.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// `releases`: one row.
pub(super) fn releases() -> TableDecl {
    let columns = [
        ("release_id", DataType::String),
        ("name", DataType::String),
        // Relative to the storage root.
        ("path", DataType::String),
        // Of release.json.
        ("digest", DataType::String),
        ("n_rows", DataType::UInt64),
        // The shards read, as JSON: table → [digest, …]. Not in release.json: another cut into shards is no other release.
        ("inputs", DataType::String),
    ];
    let columns = columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype));
    TableDecl { name: tables::RELEASES.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// The columns of `table` that publishing `of` reads.
pub(super) fn columns_of(of: Subject, table: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = packed_columns(of)
        .into_iter()
        .filter_map(|column| column.from)
        .filter(|(from, _)| *from == table)
        .map(|(_, name)| name)
        .collect();
    names.extend(link(table));
    if table == REFERENCES {
        names.push("split");
    }
    names
}

/// The column by which a row of `table` refers to the next table of a chain.
pub(super) fn link(table: &str) -> Option<&'static str> {
    match table {
        CANDIDATES => Some("pair_id"),
        PAIRS => Some("reference_id"),
        _ => None,
    }
}
