//! The columns of a release's files, and how they are told to readers that know Hugging Face's features.

use polars::prelude::*;
use serde_json::{Map, Value, json};

use super::config::Subject;
use super::scores;
use super::table::{CONTENT_DIGEST, IMAGE_BYTES, SCORES, packed_columns};
use crate::tables;

/// The key in a Parquet footer under which `datasets` looks for features.
pub(super) const METADATA_KEY: &str = "huggingface";
/// What precedes the name of a score.
const SCORE_PREFIX: &str = "score_";

/// The columns of the release's files: a column per score, in the place of the list of scores.
pub(super) fn release_columns(of: Subject, scores: &[String]) -> Vec<(String, DataType)> {
    let mut columns = Vec::new();
    for column in packed_columns(of) {
        match column.name {
            SCORES => columns.extend(scores.iter().map(|name| (format!("{SCORE_PREFIX}{name}"), DataType::Float64))),
            IMAGE_BYTES | CONTENT_DIGEST => {}
            name => columns.push((name.to_owned(), column.dtype)),
        }
    }
    columns
}

/// Rows of `quadruplets` with the columns of a release.
pub(super) fn to_release(rows: &DataFrame, of: Subject, scores: &[String]) -> Result<DataFrame, PolarsError> {
    let lists = scores::from_column(rows.column(SCORES)?).map_err(|error| polars_err!(ComputeError: "{error}"))?;
    let mut columns: Vec<Column> = Vec::new();
    for column in packed_columns(of) {
        match column.name {
            SCORES => columns.extend(scores.iter().map(|wanted| {
                let value =
                    |list: &Vec<(String, f64)>| list.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
                let values: Vec<Option<f64>> = lists.iter().map(value).collect();
                Column::new(format!("{SCORE_PREFIX}{wanted}").into(), values)
            })),
            IMAGE_BYTES | CONTENT_DIGEST => {}
            name => columns.push(rows.column(name)?.clone()),
        }
    }
    DataFrame::new(rows.height(), columns)
}

/// A type in the words of `datasets`.
pub(super) fn type_word(dtype: &DataType) -> &'static str {
    match dtype {
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float64 => "float64",
        dtype if *dtype == tables::image_type() => "image",
        _ => "string",
    }
}

/// The value of [`METADATA_KEY`].
pub(super) fn metadata(columns: &[(String, DataType)]) -> String {
    let features: Map<String, Value> = columns
        .iter()
        .map(|(name, dtype)| {
            let feature = match type_word(dtype) {
                "image" => json!({ "_type": "Image" }),
                word => json!({ "dtype": word, "_type": "Value" }),
            };
            (name.clone(), feature)
        })
        .collect();
    json!({ "info": { "features": features } }).to_string()
}
