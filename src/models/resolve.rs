//! Where a folder of a model is wanted, its name will do.

use std::path::{Path, PathBuf};

use cafe_engine::cafe::Family;
use cafe_pipeline::manifest::ModelRole;

use super::Registry;
use super::cache::Cache;
use crate::failure::Failure;

/// The family in the folder `named`, or of this name.
pub(crate) fn family(named: &Path) -> Result<Family, Failure> {
    Ok(Family::open(&folder(named, ModelRole::Family)?)?)
}

/// The folder of the language model: that which is `named`, or has this name; else the one below the assistant's, `mllm`.
pub(crate) fn llm(named: Option<&Path>, mllm: &Path) -> Result<PathBuf, Failure> {
    named.map_or_else(|| Ok(mllm.join("base")), |named| folder(named, ModelRole::Llm))
}

/// The folder `named`; or that of the fetched model of this name, whose role must be `role`.
pub(crate) fn folder(named: &Path, role: ModelRole) -> Result<PathBuf, Failure> {
    // What is neither there nor a name is told by whoever opens it.
    let Some(name) = named.to_str().filter(|name| !name.contains('/') && !named.is_dir()) else {
        return Ok(named.to_owned());
    };
    let registry = Registry::open(None)?;
    let Some(model) = registry.find(name) else { return Ok(named.to_owned()) };
    if model.decl.role != role {
        let (is, wanted) = (model.decl.role.name(), role.name());
        let message = format!("the model {name} has the role {is}, and here is room for {wanted}");
        return Err(Failure::usage(message, "cafe-data models list"));
    }
    let cache = std::env::var_os("CAFE_MODELS").filter(|path| !path.is_empty()).map(PathBuf::from);
    let place = Cache::open(cache.as_deref())?.place(model);
    place.folder().map(Path::to_owned).ok_or_else(|| {
        let message = format!("there is no folder {name}, and the model of this name was not fetched yet");
        Failure::usage(message, format!("run `cafe-data models fetch {name}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
