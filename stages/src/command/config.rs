//! The keys of a `command` stage, and the types a program's columns can have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use polars::prelude::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tables;

/// Keys of a `command` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments; never passed to a shell. Placeholders: `{input}`, `{output}`, `{seed}`, `{stage}`,
    /// `{shard}`, `{scratch}`, `{cafe_data}` (this program), `{model_family}`; `{{` and `}}` for braces.
    #[schemars(length(min = 1))]
    pub argv: Vec<String>,
    /// The table whose rows the program is given.
    pub reads: String,
    /// The table that the program's rows go into.
    pub writes: String,
    /// The columns that the program adds, with their types. May be left out where `writes` is a table with a fixed
    /// schema, such as `candidates`.
    #[serde(default)]
    pub output: Option<BTreeMap<String, ColumnType>>,
    /// The columns of `reads` that the program is given; all when left out. The id column is always among them.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// Further tables whose columns are added to each row by their id column: `join = { references = ["image"] }`
    /// gives a program that reads `pairs` the column `references.image`.
    #[serde(default)]
    pub join: BTreeMap<String, Vec<String>>,
    /// The column that names a row of `reads`. Known for references, pairs and candidates.
    #[serde(default)]
    pub id_column: Option<String>,
    /// How many rows the program returns for each.
    #[serde(default)]
    pub fan_out: FanOutConfig,
    /// Whether the program is started for each batch, or once to serve many.
    #[serde(default)]
    pub mode: Mode,
    /// Rows per batch; default 256 for `oneshot`, 16 for `serve`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_rows: Option<u32>,
    /// How long a batch may take. Its process group is killed then, and the batch bisected.
    #[serde(default = "default_deadline_secs")]
    #[schemars(range(min = 1, max = 604_800))]
    pub deadline_secs: u64,
    /// How long a row may take: a batch of n rows gets n times as long, and at most `deadline_secs`. Makes the search
    /// for a row that hangs quick.
    #[serde(default)]
    #[schemars(range(min = 1, max = 604_800))]
    pub row_deadline_secs: Option<u64>,
    /// `serve`: how long a program may take until it is ready, for example to load its model.
    #[serde(default = "default_start_secs")]
    #[schemars(range(min = 1, max = 604_800))]
    pub start_secs: u64,
    /// `serve`: a heartbeat moves the deadline to at least this long after it.
    #[serde(default = "default_heartbeat_secs")]
    #[schemars(range(min = 1, max = 604_800))]
    pub heartbeat_secs: u64,
    /// Names of environment variables that are passed on. Their values are neither logged nor part of a fingerprint.
    #[serde(default)]
    pub env: Vec<String>,
    /// Version of your program: raise it when the same rows come to give other results.
    #[serde(default)]
    pub version: Version,
    /// Files that the program consists of, relative to the manifest's folder: a changed file makes the shards stale.
    /// Files named in `argv` are found by themselves.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Whether finished batches are journaled, so that a kill loses a batch and not a shard.
    #[serde(default = "default_journal")]
    pub journal: bool,
}

/// Version of a user's program: a number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Version {
    /// `version = 2`
    Number(u64),
    /// `version = "2026-01"`
    Text(String),
}

impl Default for Version {
    fn default() -> Self {
        Self::Number(1)
    }
}

/// How a program is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Once per batch.
    #[default]
    Oneshot,
    /// One long-lived process per batch at once, spoken to in JSON lines.
    Serve,
}

/// How many rows a program returns for each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FanOutConfig {
    /// Exactly one.
    #[default]
    One,
    /// Any number, none included.
    Many,
}

/// The type of a column that a program returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// True or false.
    Bool,
    /// A signed integer.
    Int64,
    /// A number.
    Float64,
    /// An unsigned integer below 2^32.
    Uint32,
    /// Bytes.
    Binary,
    /// A struct of `bytes` (an encoded image) and `path`.
    Image,
}

impl ColumnType {
    /// The type in a shard.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::String => DataType::String,
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Uint32 => DataType::UInt32,
            Self::Binary => DataType::Binary,
            Self::Image => tables::image_type(),
        }
    }
}

/// A type in the words of the contract, for messages.
pub(super) fn type_name(dtype: &DataType) -> String {
    match dtype {
        DataType::String => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Float64 => "float64".to_owned(),
        DataType::Float32 => "float32".to_owned(),
        DataType::Int64 => "int64".to_owned(),
        DataType::UInt32 => "uint32".to_owned(),
        DataType::UInt64 => "uint64".to_owned(),
        DataType::Struct(fields) if *dtype == tables::image_type() || fields.is_empty() => {
            "image (struct of bytes: binary, path: string)".to_owned()
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|Field { name, dtype }| format!("{name}: {}", type_name(dtype))).collect();
            format!("struct of {}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn default_deadline_secs() -> u64 {
    600
}

fn default_start_secs() -> u64 {
    600
}

fn default_heartbeat_secs() -> u64 {
    60
}

fn default_journal() -> bool {
    true
}
