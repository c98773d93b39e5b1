//! Weights that do not fit.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file is missing, damaged or cut short.
    #[error("{file}: cannot be read as safetensors: {reason}; fetch the file again, or convert it", file = file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// A folder without weights.
    #[error("{folder}: holds no weights: there should be one of {wanted}", folder = folder.display())]
    NoFile {
        /// Which folder.
        folder: PathBuf,
        /// The names that were looked for.
        wanted: String,
    },
    /// A tensor that the config asks for is not there.
    #[error("{file}: has no tensor `{tensor}`, which {config} asks for{hint}", file = file.display(), config = config.display())]
    Missing {
        /// Which tensor.
        tensor: String,
        /// Which file was searched.
        file: PathBuf,
        /// Which config asked.
        config: PathBuf,
        /// The name that comes nearest, if any.
        hint: Hint,
    },
    /// A tensor of another shape.
    #[error(
        "{file}: tensor `{tensor}` has shape {found:?}, and {config} asks for {expected:?}: the weights belong to another config",
        file = file.display(),
        config = config.display(),
    )]
    Shape {
        /// Which tensor.
        tensor: String,
        /// Which file it is in.
        file: PathBuf,
        /// Which config asked.
        config: PathBuf,
        /// The shape that the config asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// An index whose files do not hold what it says.
    #[error("{index}: says that `{tensor}` is in {file}, where it is not; fetch both again", index = index.display(), file = file.display())]
    Index {
        /// Which index.
        index: PathBuf,
        /// Which tensor.
        tensor: String,
        /// Where it should be.
        file: PathBuf,
    },
    /// Weights that cannot be written.
    #[error("{file}: cannot be written: {reason}", file = file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The name that comes nearest to a missing one.
#[derive(Debug)]
pub struct Hint(Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "; the nearest name in it is `{name}`"),
            None => Ok(()),
        }
    }
}

impl WeightsError {
    pub(super) fn missing(tensor: &str, file: &Path, config: &Path, names: &[String]) -> Self {
        let nearest = names
            .iter()
            .map(|name| (strsim::normalized_levenshtein(name, tensor), name))
            .max_by(|left, right| left.0.total_cmp(&right.0))
            .filter(|(likeness, _)| *likeness > 0.6);
        let hint = Hint(nearest.map(|(_, name)| name.clone()));
        Self::Missing { tensor: tensor.to_owned(), file: file.into(), config: config.into(), hint }
    }
}
