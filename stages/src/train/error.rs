//! Why a training cannot go on.

use std::io;
use std::path::{Path, PathBuf};

use cafe_engine::EngineError;
use cafe_pipeline::stage::WorkError;

use crate::models::work_error;
use crate::training_pairs::TrainingPairsError;

/// Why a training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] TrainingPairsError),
    /// The models, or what is computed with them.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What is kept cannot be written, or read again.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The settings do not fit the models or the pairs.
    #[error("{message}")]
    Settings {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
}

impl TrainError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn settings(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Settings { message: message.into(), help: help.into() }
    }
}

impl From<TrainError> for WorkError {
    /// A training has no rows that one could leave out: what does not pass by itself stops the stage.
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Io { path, source } => Self::io(path.display(), &source),
            TrainError::Engine(error) => match work_error(error) {
                Self::Poison { message, .. } => Self::Systemic(message),
                other => other,
            },
            TrainError::Settings { message, help } => Self::Systemic(format!("{message}: {help}")),
            TrainError::Pairs(error) => Self::Systemic(error.to_string()),
        }
    }
}
