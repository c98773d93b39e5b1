//! Models as stages see them: a name in a manifest becomes a folder, and a folder a digest. Where models are kept, and how they get there,
//! is the program's business.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use cafe_engine::EngineError;
use cafe_engine::cafe::Role;
use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, ErrorClass, WorkError};
use walkdir::WalkDir;

/// The family that is meant where a manifest names none: the bundled one.
pub const DEFAULT_FAMILY: &str = "mini";

/// Finds models.
pub trait ModelStore: Send + Sync {
    /// The folder of the model that a manifest calls `named`: a folder, relative to the manifest's, or a name.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    fn folder(&self, named: &str, role: ModelRole, context: &CompileContext<'_>) -> Result<PathBuf, NoModel>;

    /// The digest of what is declared of the model, where that pins all its files: the same before it was fetched and after.
    /// `None` where only its files tell what it is.
    ///
    /// # Errors
    /// When there is no such model, or it is of another role.
    fn pins(&self, named: &str, role: ModelRole, context: &CompileContext<'_>) -> Result<Option<Digest>, NoModel> {
        let _ = (named, role, context);
        Ok(None)
    }
}

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoModel {
    /// What is missing.
    pub message: String,
    /// How to get it.
    pub help: Option<String>,
}

/// The family that a stage asks for by `named`, the value of the key at `pointer`; else the manifest's; else the bundled one.
///
/// # Errors
/// An issue at `pointer` when it is not there.
pub fn family(
    models: &dyn ModelStore,
    named: Option<&str>,
    pointer: &str,
    context: &CompileContext<'_>,
) -> Result<PathBuf, ConfigIssue> {
    let named = named.or(context.model_family).unwrap_or(DEFAULT_FAMILY);
    models.folder(named, ModelRole::Family, context).map_err(|missing| {
        let issue = ConfigIssue::new(pointer, missing.message);
        match missing.help {
            Some(help) => issue.with_help(help),
            None => issue,
        }
    })
}

/// A model that is loaded when it is first asked for, and then kept.
pub(crate) struct Loaded<T>(OnceLock<T>, Mutex<()>);

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self(OnceLock::new(), Mutex::default())
    }
}

impl<T> Loaded<T> {
    /// The model; `load` makes it if there is none. One thread loads, the others wait.
    pub(crate) fn get(&self, load: impl FnOnce() -> Result<T, EngineError>) -> Result<&T, WorkError> {
        let _loading = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.get().is_none() {
            let loaded = load().map_err(work_error)?;
            return Ok(self.0.get_or_init(|| loaded));
        }
        self.0.get().ok_or_else(|| WorkError::Systemic("a model was loaded and is not there".to_owned()))
    }
}

/// Whose fault an error of the engine is.
pub(crate) fn work_error(error: EngineError) -> WorkError {
    match error {
        EngineError::Io { path, source } => WorkError::io(path.display(), &source),
        EngineError::Tensor(error) => {
            let message = error.to_string();
            let lower = message.to_lowercase();
            // candle wraps the errors of CUDA and of the allocator as texts.
            if lower.contains("out of memory") || lower.contains("out_of_memory") {
                return WorkError::OutOfMemory(message);
            }
            WorkError::poison(ErrorClass::Invalid, message)
        }
        EngineError::Argument(message) => WorkError::poison(ErrorClass::Invalid, message),
        // Configs and weights are the same for every row.
        other => WorkError::Systemic(other.to_string()),
    }
}

/// One digest of the models for `roles` of the family in `folder`.
///
/// # Errors
/// As [`digest`].
pub(crate) fn roles_digest(folder: &Path, roles: &[Role], pointer: &str) -> Result<String, ConfigIssue> {
    let hasher = roles.iter().try_fold(Hasher::new("roles/v1"), |hasher, role| {
        let of_role = digest(&folder.join(role.folder()), pointer)?;
        Ok::<_, ConfigIssue>(hasher.text("role", role.folder()).bytes("digest", of_role.as_bytes()))
    })?;
    Ok(hasher.digest().to_hex())
}

/// The digest of all that decides what the model in `folder` computes: its files below that, by name, without what only people read.
///
/// # Errors
/// An issue at `pointer` when the folder or a file of it cannot be read.
pub fn digest(folder: &Path, pointer: &str) -> Result<Digest, ConfigIssue> {
    digest_of(folder).map_err(|(path, error)| {
        let issue = ConfigIssue::new(pointer, format!("cannot read {}: {error}", path.display()));
        if error.kind() == io::ErrorKind::NotFound {
            return issue
                .with_help("a family has one folder for each role; `cafe-data models list` shows what there is");
        }
        issue
    })
}

fn digest_of(folder: &Path) -> Result<Digest, (PathBuf, io::Error)> {
    let mut hasher = Hasher::new("model/v1");
    let mut n_files = 0;
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            (path, error.into_io_error().unwrap_or_else(|| io::Error::other("the links go in a circle")))
        })?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if !entry.file_type().is_file() || !counts(name) {
            continue;
        }
        let digest = file_digest(entry.path()).map_err(|error| (entry.path().to_owned(), error))?;
        hasher = hasher.text("file", &name.to_string_lossy()).bytes("digest", digest.as_bytes());
        n_files += 1;
    }
    if n_files == 0 {
        return Err((folder.to_owned(), io::Error::new(io::ErrorKind::NotFound, "there is no model in it")));
    }
    Ok(hasher.digest())
}

/// Cards, licences and hidden files change no number.
fn counts(name: &Path) -> bool {
    let is_hidden = name.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'));
    let read_by_people = name.extension().is_some_and(|extension| extension == "md");
    !is_hidden && !read_by_people && name.file_name().is_some_and(|name| name != "LICENSE")
}

/// What tells that a file is the one that was read before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, Option<SystemTime>, u64);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self(metadata.len(), metadata.modified().ok(), inode)
    }
}

/// The file's digest. A command compiles its plan more than once, and reads gigabytes of weights only once.
pub(crate) fn file_digest(path: &Path) -> io::Result<Digest> {
    static KNOWN: LazyLock<Mutex<HashMap<PathBuf, (Stamp, Digest)>>> = LazyLock::new(Mutex::default);
    let stamp = Stamp::of(&fs::metadata(path)?);
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
    if let Some((_, digest)) = known.filter(|(known, _)| *known == stamp) {
        return Ok(digest);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    let digest = Digest::from(hasher.finalize());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (stamp, digest));
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_with_counts_and_what_is_read_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &str| fs::write(folder.path().join(name), bytes).unwrap();
        assert!(digest(folder.path(), "/family").unwrap_err().message.contains("no model"));
        write("config.json", "{}");
        write("model.safetensors", "weights");
        let first = digest(folder.path(), "/family").unwrap();
        write("README.md", "a card");
        write(".cafe-model.json", "a record");
        assert_eq!(digest(folder.path(), "/family").unwrap(), first);
        write("model.safetensors", "other weights");
        let second = digest(folder.path(), "/family").unwrap();
        assert_ne!(second, first);
        fs::rename(folder.path().join("model.safetensors"), folder.path().join("m.safetensors")).unwrap();
        assert_ne!(digest(folder.path(), "/family").unwrap(), second);
        let missing = digest(&folder.path().join("absent"), "/family").unwrap_err();
        assert!(missing.help.unwrap().contains("models list"));
    }
}
