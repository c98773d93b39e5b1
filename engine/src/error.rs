//! What can go wrong in the engine.

use std::path::PathBuf;

/// A result of the engine.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Why the engine cannot go on. Messages say what, where, why and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A `config.json` that is not valid, or asks for what the engine does not have.
    #[error("{path}: {message}", path = path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// Weights that do not fit the model.
    #[error(transparent)]
    Weights(Box<crate::weights::WeightsError>),
    /// An argument that cannot be used.
    #[error("{0}")]
    Argument(String),
    /// An operation on tensors failed. Errors of [`crate::weights`] pass through here when they arise inside a model.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl EngineError {
    /// An argument that cannot be used.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::Argument(message.into())
    }

    /// An I/O error at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// A mistake in the config at `path`.
    pub(crate) fn config(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Config { path: path.into(), message: message.into() }
    }
}

impl From<crate::weights::WeightsError> for EngineError {
    fn from(error: crate::weights::WeightsError) -> Self {
        Self::Weights(Box::new(error))
    }
}
