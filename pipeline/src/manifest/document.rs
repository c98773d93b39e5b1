//! The manifest as it is written: what serde reads, once the schemas have let it through.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::models::{MODEL_NAME_PATTERN, Models};
use super::{Budget, CatalogSettings, StorageSettings, VERSION};

/// A stage's name, and nothing that a file system or a node's name (`stage.part`) could trip over.
pub(super) const NAME_PATTERN: &str = "^[a-z][a-z0-9_-]{0,63}$";

/// Keys of a `[[stage]]` table that the pipeline itself reads, besides [`super::StageSettings`].
pub(super) const HEAD: [&str; 3] = ["name", "kind", "needs"];

/// A cafe-data manifest: a DAG of stages that makes a data set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// The version of the manifest format.
    #[schemars(extend("const" = VERSION))]
    #[expect(dead_code, reason = "checked before anything else is read")]
    pub(super) version: u32,
    /// Root of the seed tree: the same seed makes the same data. Default: 0.
    #[serde(default)]
    pub(super) seed: u64,
    /// The model family from which stages take their models, for example `paper` or `mini`.
    #[serde(default)]
    pub(super) model_family: Option<String>,
    /// Where the catalog is.
    #[serde(default)]
    pub(super) catalog: CatalogSettings,
    /// Where the files are.
    #[serde(default)]
    pub(super) storage: StorageSettings,
    /// When a run stops, resumably.
    #[serde(default)]
    pub(super) budget: Budget,
    /// Models by name, besides those that the program knows: where their files come from.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": MODEL_NAME_PATTERN }))]
    pub(super) models: Models,
    /// The stages, in any order.
    #[schemars(length(min = 1))]
    pub(super) stage: Vec<Map<String, Value>>,
}

/// The head of a stage.
#[derive(Deserialize, JsonSchema)]
pub(super) struct StageHead {
    /// The stage's name: a verb, unique in the manifest. Lower-case letters, digits, `_` and `-`.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub(super) name: String,
    /// What the stage does.
    pub(super) kind: String,
    /// Names of the stages whose tables it reads.
    #[serde(default)]
    pub(super) needs: Vec<String>,
}
