//! What a person writes: a TOML file that declares a DAG of stages. [`Manifest::parse`] collects every mistake, each with
//! file, line and what to write instead.

mod branches;
mod check;
mod cross;
mod document;
mod error;
mod explain;
mod help;
mod models;
mod parse;
mod pointer;
mod report;
mod rules;
mod schema;
mod suggest;
mod syntax;
mod tree;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::{ManifestError, ManifestErrors};
pub use models::{ModelDecl, ModelFile, ModelRole, ModelSource, Models, Prepare, parse_models};
pub use pointer::{SpanMap, child as child_pointer};
pub use schema::{schema, schema_text};

/// The manifest format that this program reads.
pub const VERSION: u32 = 1;

/// A parsed manifest. The stages' own keys are checked against their kinds' schemas, but not yet compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file, for messages.
    pub path: PathBuf,
    /// Its text, kept with the plan.
    pub text: String,
    /// Root of the seed tree.
    pub seed: u64,
    /// Model family, by name.
    pub model_family: Option<String>,
    /// The catalog.
    pub catalog: CatalogSettings,
    /// The files.
    pub storage: StorageSettings,
    /// When to stop.
    pub budget: Budget,
    /// Models by name.
    pub models: Models,
    /// The stages, in the order written.
    pub stages: Vec<Stage>,
    /// Where in the text each value stands, for [`Manifest::from_issue`].
    pub spans: SpanMap,
}

impl Manifest {
    /// The folder to which paths in the manifest are relative.
    #[must_use]
    pub fn folder(&self) -> &Path {
        folder_of(&self.path)
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A `[[stage]]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Unique; a verb.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Names of the stages it needs.
    pub needs: Vec<String>,
    /// Keys that every kind has.
    pub common: StageSettings,
    /// The kind's own keys.
    pub config: Value,
}

/// Where the catalog is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogSettings {
    /// `sqlite:FILE`, relative to the manifest. The file must lie on a local disk.
    #[serde(default = "default_catalog_url")]
    pub url: String,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    /// Folder of shards, journals and releases, relative to the manifest.
    #[serde(default = "default_storage_root")]
    pub root: PathBuf,
    /// The run stops, resumably, before less than this is free.
    #[serde(default = "default_min_free_bytes")]
    pub min_free_bytes: u64,
}

/// When a run stops, resumably, with exit code 6. What earlier runs of the project spent counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Wall time of all attempts together, in hours.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub worker_hours: Option<f64>,
    /// Device time of all attempts together, in hours.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub device_hours: Option<f64>,
    /// Tokens read and written by language models.
    #[serde(default)]
    pub tokens: Option<u64>,
}

/// Keys of a `[[stage]]` table that every kind has, besides `name`, `kind` and `needs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageSettings {
    /// Rows in a shard, where this stage cuts shards. Aim at ten minutes of work or less.
    #[serde(default = "default_shard_rows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub shard_rows: u32,
    /// Largest share of rows in quarantine; above it (and at least 20 rows) the stage stops, since the fault is then
    /// hardly in the rows.
    #[serde(default = "default_max_quarantine")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_quarantine: f64,
    /// Tries of a shard that fails for a passing reason, before it is given up until the next run.
    #[serde(default = "default_max_tries")]
    #[schemars(range(min = 1, max = 100))]
    pub max_tries: u32,
    /// A batch that takes longer than so many seconds is taken for hung: its rows are then tried one by one in a process
    /// of their own. Default: the kind's own patience.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub hang_secs: Option<u64>,
    /// What a worker may use for it.
    #[serde(default)]
    pub resources: Resources,
    /// What `plan` takes a row for until the stage was measured.
    #[serde(default)]
    pub assume: Assumption,
}

/// What a row that a stage reads is assumed to make and to cost, until that was measured. It changes what `plan` says, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assumption {
    /// Rows that it makes. Default: what the stage's keys say, else one.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub rows_out: Option<f64>,
    /// Wall time of one worker, in seconds.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub wall_secs: Option<f64>,
    /// The same on an accelerator.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub device_secs: Option<f64>,
    /// Bytes that it writes.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub bytes: Option<f64>,
}

/// What a worker process may use for a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Work items of this stage at once in one process; default: as many as `--workers`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub parallel: Option<u32>,
}

fn default_catalog_url() -> String {
    "sqlite:cafe.db".to_owned()
}

fn default_storage_root() -> PathBuf {
    PathBuf::from("data")
}

fn default_min_free_bytes() -> u64 {
    256 << 20
}

fn default_shard_rows() -> u32 {
    1000
}

fn default_max_quarantine() -> f64 {
    0.5
}

fn default_max_tries() -> u32 {
    5
}

impl Default for CatalogSettings {
    fn default() -> Self {
        Self { url: default_catalog_url() }
    }
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { root: default_storage_root(), min_free_bytes: default_min_free_bytes() }
    }
}

impl Default for StageSettings {
    fn default() -> Self {
        Self {
            shard_rows: default_shard_rows(),
            max_quarantine: default_max_quarantine(),
            max_tries: default_max_tries(),
            hang_secs: None,
            resources: Resources::default(),
            assume: Assumption::default(),
        }
    }
}
