//! Stage kinds, and the register that the program fills with them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ConfigIssue;
use super::node::NodeDecl;
use crate::digest::{Digest, Seed};
use crate::manifest::{Manifest, Models};

/// A `[[stage]]` table whose keys fit its kind's schema.
#[derive(Clone, Debug, PartialEq)]
pub struct StageDecl {
    /// The stage's name: a verb, unique in the manifest.
    pub name: String,
    /// The kind's own keys, without `kind`, `name`, `needs` and the other keys common to all stages.
    pub config: Value,
}

impl StageDecl {
    /// The kind's own keys as its configuration type.
    ///
    /// # Errors
    /// An issue when the type refuses what the schema let through.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Vec<ConfigIssue>> {
        T::deserialize(&self.config).map_err(|error| vec![ConfigIssue::new("", error.to_string())])
    }
}

/// What a kind may look at while it compiles a stage.
pub struct CompileContext<'a> {
    /// The folder of the manifest: paths in it are relative to this.
    pub manifest_dir: &'a Path,
    /// The run's seed.
    pub seed: Seed,
    /// The manifest's `model_family`.
    pub model_family: Option<&'a str>,
    /// The models that the manifest names.
    pub models: &'a Models,
}

impl<'a> CompileContext<'a> {
    /// For a manifest in `manifest_dir` that names no models.
    #[must_use]
    pub fn new(manifest_dir: &'a Path, seed: Seed) -> Self {
        static NONE: Models = Models::new();
        Self { manifest_dir, seed, model_family: None, models: &NONE }
    }

    /// For the stages of `manifest`.
    #[must_use]
    pub fn of(manifest: &'a Manifest) -> Self {
        Self {
            manifest_dir: manifest.folder(),
            seed: Seed(manifest.seed),
            model_family: manifest.model_family.as_deref(),
            models: &manifest.models,
        }
    }

    /// A path of the manifest, resolved.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.manifest_dir.join(path)
    }

    /// Reads a text file named in the manifest, and gives its digest for the settings.
    ///
    /// # Errors
    /// An issue at `pointer` that names the file.
    pub fn read_text(&self, pointer: &str, path: &Path) -> Result<(String, Digest), ConfigIssue> {
        let resolved = self.resolve(path);
        match std::fs::read_to_string(&resolved) {
            Ok(text) => {
                let digest = Digest::of(text.as_bytes());
                Ok((text, digest))
            }
            Err(error) => {
                let issue = ConfigIssue::new(pointer, format!("cannot read {}: {error}", resolved.display()));
                Err(match error.kind() {
                    io::ErrorKind::NotFound => issue.with_help("paths are relative to the manifest's folder"),
                    _ => issue,
                })
            }
        }
    }
}

/// A kind of stage: `collect`, `instruct`, `command`, …
pub trait StageKind: Send + Sync {
    /// What a manifest writes as `kind`.
    fn kind(&self) -> &'static str;

    /// One line for the schema and for `--help`.
    fn about(&self) -> &'static str;

    /// The JSON schema of the kind's own keys. Must be an object schema without other keys (`deny_unknown_fields`).
    fn config_schema(&self) -> schemars::Schema;

    /// Whether what is upstream of such a stage is hidden from those after it: what it makes is of all rows together, and the rows
    /// that are made with it are others.
    fn ends_lineage(&self) -> bool {
        false
    }

    /// Checks what a schema cannot say, and compiles the stage into nodes. The last node bears the stage's name.
    ///
    /// # Errors
    /// All mistakes found.
    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>>;
}

/// The stage kinds that a program knows.
#[derive(Clone, Default)]
pub struct StageRegistry(BTreeMap<&'static str, Arc<dyn StageKind>>);

impl StageRegistry {
    /// Adds a kind; a kind of the same name is replaced.
    #[must_use]
    pub fn with(mut self, kind: impl StageKind + 'static) -> Self {
        self.0.insert(kind.kind(), Arc::new(kind));
        self
    }

    /// The kind called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn StageKind>> {
        self.0.get(name)
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn StageKind>> {
        self.0.values()
    }
}
