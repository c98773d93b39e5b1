//! What runs ONNX in this process: onnxruntime, where its library is found, else tract. It is chosen once, when the first
//! model is loaded, and said then.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{CompileContext, WorkError};
use ort::environment::Environment;

use crate::models::ModelStore;

/// Names the library to use, before all others.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The name under which `cafe-data models` has the library.
const MODEL: &str = "onnxruntime";

/// Where onnxruntime's library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The user says so: another one will not do.
    Named(PathBuf),
    /// It was fetched.
    Fetched(PathBuf),
    /// Nowhere.
    None,
}

/// What runs ONNX.
pub(crate) struct Runtime {
    pub(crate) environment: Environment,
    pub(crate) kind: RuntimeKind,
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeKind {
    OnnxRuntime,
    Tract,
}

impl RuntimeKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::Tract => "tract",
        }
    }
}

impl Library {
    /// Looks for it.
    pub(crate) fn find(models: &dyn ModelStore, context: &CompileContext<'_>) -> Self {
        if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return Self::Named(path.into());
        }
        // That it was never fetched is no mistake.
        let folder = models.folder(MODEL, ModelRole::Library, context).ok();
        folder.and_then(|folder| in_folder(&folder)).map_or(Self::None, Self::Fetched)
    }
}

/// `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`: the first by name.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found.into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libonnxruntime.") && path.is_file()
    })
}

/// What runs ONNX in this process; the first call decides.
///
/// # Errors
/// [`WorkError::Systemic`] when the library that the user named cannot be loaded.
pub(crate) fn get(library: &Library) -> Result<&'static Runtime, WorkError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME.get_or_init(|| start(library)).as_ref().map_err(|message| WorkError::Systemic(message.clone()))
}

fn start(library: &Library) -> Result<Runtime, String> {
    match library {
        Library::Named(path) => match load(path) {
            Ok(runtime) => Ok(runtime),
            Err(why) => Err(format!(
                "cannot load onnxruntime from {}, which {VARIABLE} names: {why}; unset it to use the fetched one, or tract",
                path.display()
            )),
        },
        Library::Fetched(path) => load(path).or_else(|why| {
            tracing::warn!("cannot load onnxruntime from {}: {why}", path.display());
            tract()
        }),
        Library::None => tract(),
    }
}

fn load(path: &Path) -> Result<Runtime, String> {
    // A relative path would be looked for beside the program first.
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
    let environment = builder.with_telemetry(false).build().map_err(|error| error.to_string())?;
    tracing::info!("models in ONNX run on onnxruntime: {}", path.display());
    Ok(Runtime { environment, kind: RuntimeKind::OnnxRuntime })
}

fn tract() -> Result<Runtime, String> {
    ort::set_api(ort_tract::api());
    let environment = ort::init().with_telemetry(false).build().map_err(|error| error.to_string())?;
    tracing::warn!(
        "models in ONNX run on tract, which needs nothing; onnxruntime is several times as fast: `cafe-data models fetch \
         {MODEL}`, or name its library by {VARIABLE}"
    );
    Ok(Runtime { environment, kind: RuntimeKind::Tract })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_whatever_its_version() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(in_folder(folder.path()), None);
        for name in ["README", "libonnxruntime_providers_shared.so", "libonnxruntime.so.1.32.0"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(in_folder(folder.path()), Some(folder.path().join("libonnxruntime.so.1.32.0")));
    }
}
