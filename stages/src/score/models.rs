//! A model of a `score` node: its towers, loaded when they are first needed.

use std::path::PathBuf;
use std::sync::OnceLock;

use cafe_engine::EngineError;
use cafe_pipeline::stage::WorkError;

use super::towers::{ImageTower, Kind, TextTower, graph};
use crate::onnx::Library;
use crate::picture::Limits;

/// A model's folder, and how it is run.
pub(super) struct Models {
    folder: PathBuf,
    library: Library,
    pub(super) batch: usize,
    pub(super) limits: Limits,
    images: OnceLock<ImageTower>,
    texts: OnceLock<TextTower>,
}

impl Models {
    pub(super) fn new(folder: PathBuf, library: Library, batch: usize, limits: Limits) -> Self {
        Self { folder, library, batch: batch.max(1), limits, images: OnceLock::new(), texts: OnceLock::new() }
    }

    /// The image tower.
    pub(super) fn images(&self, kind: Kind) -> Result<&ImageTower, WorkError> {
        once(&self.images, || ImageTower::load(&self.folder, kind, &self.library))
    }

    /// The text tower.
    pub(super) fn texts(&self) -> Result<&TextTower, WorkError> {
        once(&self.texts, || TextTower::load(&self.folder, &self.library))
    }

    /// What pictures run on, in a word.
    pub(super) fn backend(&self, kind: Kind) -> String {
        match graph(&self.folder, kind.file(), &self.library) {
            Some(graph) => graph.backend().unwrap_or("none").to_owned(),
            None => "candle".to_owned(),
        }
    }
}

/// What is in `cell`, loaded first where nothing is. Where two load it at once, the second result is dropped.
fn once<T>(cell: &OnceLock<T>, load: impl FnOnce() -> Result<T, EngineError>) -> Result<&T, WorkError> {
    if let Some(loaded) = cell.get() {
        return Ok(loaded);
    }
    let loaded = load().map_err(|error| WorkError::Systemic(error.to_string()))?;
    Ok(cell.get_or_init(|| loaded))
}
