//! Where a folder of a model is wanted, its name will do.

use std::path::{Path, PathBuf};

use cafe_engine::cafe::Family;
use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::CompileContext;
use cafe_stages::models::{DEFAULT_FAMILY, ModelStore, NoModel};
use serde_json::json;

use super::cache::{self, Cache};
use super::{Model, Registry, bundled};
use crate::failure::Failure;

/// The models that manifests name, those of the user's cache, and the bundled family: for stages.
pub(crate) struct Installed;

impl ModelStore for Installed {
    fn folder(&self, named: &str, role: ModelRole, context: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        let own = context.resolve(Path::new(named));
        if own.is_dir() {
            return Ok(own);
        }
        let found = Registry::with(context.models, context.manifest_dir)
            .and_then(|registry| by_name(named, role, &registry))
            .and_then(|folder| {
                let message = || format!("there is no folder {named} beside the manifest, and no model of this name");
                folder.ok_or_else(|| Failure::usage(message(), "`cafe-data models list` shows what there is"))
            });
        found.map_err(no_model)
    }

    fn pins(&self, named: &str, role: ModelRole, context: &CompileContext<'_>) -> Result<Option<Digest>, NoModel> {
        if context.resolve(Path::new(named)).is_dir() {
            return Ok(None);
        }
        let registry = Registry::with(context.models, context.manifest_dir).map_err(no_model)?;
        match registry.find(named) {
            Some(model) => of_role(model, role).map(pins).map_err(no_model),
            None => Ok(None),
        }
    }
}

fn no_model(failure: Failure) -> NoModel {
    let (message, help) = failure.into_texts();
    NoModel { message, help }
}

/// The digest of what the model's declaration pins; `None` where a file has no pin, and where there are no files.
fn pins(model: &Model) -> Option<Digest> {
    let mut files = Vec::new();
    for file in &model.decl.files {
        files.push(json!([file.path, file.sha256.as_deref()?]));
    }
    files.sort_by_key(ToString::to_string);
    let hasher = Hasher::new("model-pins/v1").json("files", &json!(files));
    (!files.is_empty()).then(|| hasher.json("prepare", &cache::prepared(model.decl.prepare)).digest())
}

/// The family in the folder `named`, or of this name; the bundled one where none is named.
pub(crate) fn family(named: Option<&Path>) -> Result<Family, Failure> {
    let named = named.unwrap_or(Path::new(DEFAULT_FAMILY));
    Ok(Family::open(&folder(named, ModelRole::Family)?)?)
}

/// The folder of the language model: that which is `named`, or has this name; else the one below the assistant's, `mllm`, or one
/// that was fetched. A wrong one is found out by the digest that the assistant has of its own.
pub(crate) fn llm(named: Option<&Path>, mllm: &Path) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return folder(named, ModelRole::Llm);
    }
    let own = mllm.join("base");
    if own.is_dir() {
        return Ok(own);
    }
    let registry = Registry::open(None)?;
    let (fetched, names) = for_role(ModelRole::Llm, &registry)?;
    fetched.ok_or_else(|| {
        Failure::usage(
            format!("there is no language model: neither {}, nor a fetched one", own.display()),
            format!("run `cafe-data models fetch NAME` ({}), or name a folder as --llm", names.join(", ")),
        )
    })
}

/// The folder `named`; or that of the fetched model of this name, whose role must be `role`.
pub(crate) fn folder(named: &Path, role: ModelRole) -> Result<PathBuf, Failure> {
    // What is neither there nor a name is told by whoever opens it.
    let Some(name) = named.to_str().filter(|name| !name.contains('/') && !named.is_dir()) else {
        return Ok(named.to_owned());
    };
    Ok(by_name(name, role, &Registry::open(None)?)?.unwrap_or_else(|| named.to_owned()))
}

/// The folder of the first model for `role`, by name, that is on this machine; and the names of all that are known.
pub(crate) fn for_role(role: ModelRole, registry: &Registry) -> Result<(Option<PathBuf>, Vec<&str>), Failure> {
    let models: Vec<&Model> = registry.all().filter(|model| model.decl.role == role).collect();
    let cache = cache()?;
    let folder = models.iter().find_map(|model| cache.place(model).folder().map(Path::to_owned));
    Ok((folder, models.iter().map(|model| model.name.as_str()).collect()))
}

/// The user's folder of fetched models.
fn cache() -> Result<Cache, Failure> {
    let root = std::env::var_os("CAFE_MODELS").filter(|path| !path.is_empty()).map(PathBuf::from);
    Cache::open(root.as_deref())
}

/// The folder of the model `name`, if there is a model of this name.
fn by_name(name: &str, role: ModelRole, registry: &Registry) -> Result<Option<PathBuf>, Failure> {
    let Some(model) = registry.find(name) else {
        let is_bundled = name == DEFAULT_FAMILY && role == ModelRole::Family;
        return if is_bundled { bundled::unpack(cache()?.root()).map(Some) } else { Ok(None) };
    };
    of_role(model, role)?;
    match cache()?.place(model).folder() {
        Some(folder) => Ok(Some(folder.to_owned())),
        None => Err(Failure::usage(
            format!("there is no folder of the model {name}: it was not fetched yet"),
            format!("run `cafe-data models fetch {name}`"),
        )),
    }
}

fn of_role(model: &Model, role: ModelRole) -> Result<&Model, Failure> {
    if model.decl.role == role {
        return Ok(model);
    }
    let (name, is, wanted) = (&model.name, model.decl.role.name(), role.name());
    let message = format!("the model {name} has the role {is}, and here is room for {wanted}");
    Err(Failure::usage(message, "cafe-data models list"))
}

#[cfg(test)]
mod tests {
    use cafe_pipeline::digest::Seed;

    use super::*;

    #[test]
    fn pins_are_known_before_the_model_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let context = CompileContext::new(folder.path(), Seed(1));
        let pins = |named: &str| Installed.pins(named, ModelRole::Llm, &context);
        assert!(pins("smollm2-135m").unwrap().is_some());
        assert_eq!(pins("no-such-model").unwrap(), None);
        assert!(pins("onnxruntime").unwrap_err().message.contains("library"));
        // A folder of this name wins, and its files tell what it is.
        std::fs::create_dir(folder.path().join("smollm2-135m")).unwrap();
        assert_eq!(pins("smollm2-135m").unwrap(), None);
    }

    #[test]
    fn folders_stay_what_they_are() {
        let folder_of = |named: &str| folder(Path::new(named), ModelRole::Llm).unwrap();
        for named in ["nowhere/at/all", "./smollm2-135m", "no-such-model", "src"] {
            assert_eq!(folder_of(named), Path::new(named));
        }
    }

    #[test]
    fn a_model_of_another_role_is_refused() {
        let Err(Failure::Usage(said, _)) = folder(Path::new("onnxruntime"), ModelRole::Llm) else { panic!() };
        assert!(said.contains("library") && said.contains("llm"), "{said}");
    }
}
