//! Models by name: those of the manifest and those that the program knows, where they are kept, and how they get there.

mod bundled;
pub(crate) mod cache;
pub(crate) mod check;
mod digest;
mod download;
pub(crate) mod fetch;
pub(crate) mod hub;
mod local;
mod pip;
pub(crate) mod record;
pub(crate) mod resolve;
mod trouble;
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cafe_pipeline::manifest::{ModelDecl, ModelSource, Models, parse_models};

use crate::failure::Failure;
use crate::{kinds, project};

const BUILT_IN: &str = include_str!("../../models/registry.toml");

/// The manifest that is read where none is named.
const MANIFEST: &str = "cafe.toml";

/// A model that is known by name.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) decl: ModelDecl,
    /// The folder of the manifest that names it; `None` for what the program knows.
    pub(crate) folder: Option<PathBuf>,
}

impl Model {
    /// The folders of this machine that it may be in.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let base = self.folder.as_deref().unwrap_or(Path::new(""));
        self.decl.sources.iter().filter_map(move |source| match source {
            ModelSource::Path { path } => Some(base.join(path)),
            _ => None,
        })
    }

    /// The files that are pinned by no digest.
    pub(crate) fn unpinned(&self) -> impl Iterator<Item = &str> {
        self.decl.files.iter().filter(|file| file.sha256.is_none()).map(|file| file.path.as_str())
    }
}

/// All models that are known by name.
#[derive(Debug)]
pub(crate) struct Registry {
    models: BTreeMap<String, Model>,
}

impl Registry {
    /// The built-in models, and those of `manifest`, which win; of `cafe.toml`, where none is named and there is one.
    pub(crate) fn open(manifest: Option<&Path>) -> Result<Self, Failure> {
        let default = Path::new(MANIFEST);
        match manifest.or(default.is_file().then_some(default)) {
            Some(path) => {
                let manifest = project::read(path, &kinds::registry())?;
                Self::with(&manifest.models, manifest.folder())
            }
            None => Self::with(&Models::new(), Path::new("")),
        }
    }

    /// The built-in models, and those that a manifest in `folder` names, which win.
    pub(crate) fn with(named: &Models, folder: &Path) -> Result<Self, Failure> {
        let failed = |errors| Failure::Manifest(Box::new(errors));
        let built_in = parse_models(Path::new("models/registry.toml"), BUILT_IN).map_err(failed)?;
        let of = |folder: Option<PathBuf>| {
            move |(name, decl): (String, ModelDecl)| (name.clone(), Model { name, decl, folder: folder.clone() })
        };
        let mut models: BTreeMap<String, Model> = built_in.into_iter().map(of(None)).collect();
        models.extend(named.clone().into_iter().map(of(Some(folder.to_owned()))));
        Ok(Self { models })
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }

    /// Those that the manifest names.
    pub(crate) fn of_manifest(&self) -> impl Iterator<Item = &Model> {
        self.all().filter(|model| model.folder.is_some())
    }

    /// The model `name`, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// The model `name`.
    pub(crate) fn get(&self, name: &str) -> Result<&Model, Failure> {
        self.find(name).ok_or_else(|| {
            let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
            Failure::usage(
                format!("there is no model `{name}`"),
                format!("there are: {}; others can be written into a manifest as [models.NAME]", names.join(", ")),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_knows_is_right_and_wheels_are_pinned() {
        let registry = Registry::open(None).unwrap();
        for model in registry.all() {
            assert!(!model.decl.about.is_empty() && model.decl.licence.is_some(), "{}", model.name);
            let from_wheels = model.decl.sources.iter().all(|source| matches!(source, ModelSource::Wheel { .. }));
            assert!(!from_wheels || model.unpinned().next().is_none(), "{} has files without a digest", model.name);
        }
        assert_eq!(registry.get("smollm2-135m").unwrap().decl.dims["hidden_size"], 576);
        let Err(Failure::Usage(said, help)) = registry.get("smollm3") else { panic!() };
        assert!(said.contains("smollm3") && help.contains("smollm2-135m"));
    }
}
