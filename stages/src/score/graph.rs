//! A model in ONNX with one input and one output: rows in, embeddings out.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use cafe_pipeline::stage::WorkError;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{PrimitiveTensorElementType, TensorRef};

use super::runtime::{self, Library, RuntimeKind};

/// Most copies of a model that are in memory at once.
const MAX_SESSIONS: usize = 8;

/// A model in ONNX, loaded when it is first run.
///
/// onnxruntime shares one session's work among all cores; workers wait for each other, and decode meanwhile. tract works
/// on one core, so that each worker has a session of its own.
pub(super) struct Graph {
    path: PathBuf,
    library: Library,
    sessions: Mutex<Sessions>,
    returned: Condvar,
}

#[derive(Default)]
struct Sessions {
    free: Vec<Session>,
    n_made: usize,
}

impl Graph {
    pub(super) fn new(path: PathBuf, library: Library) -> Self {
        Self { path, library, sessions: Mutex::default(), returned: Condvar::new() }
    }

    /// What it runs on.
    pub(super) fn backend(&self) -> Result<&'static str, WorkError> {
        Ok(runtime::get(&self.library)?.kind.name())
    }

    /// Runs it on `values` of `shape`, whose first number counts rows. Returns an embedding for each row.
    pub(super) fn run<T: PrimitiveTensorElementType + std::fmt::Debug>(
    session: &mut Session,
    shape: &[usize],
    values: &[T],
) -> Result<Vec<Vec<f32>>, String> {
    let text = |error: ort::Error| error.to_string();
    let input = TensorRef::from_array_view((shape, values)).map_err(text)?;
    let outputs = session.run(ort::inputs![input]).map_err(text)?;
    let (_, output) = outputs.iter().next().ok_or("it has no output")?;
    let (found, numbers) = output.try_extract_tensor::<f32>().map_err(text)?;
    let n_rows = shape.first().copied().unwrap_or_default();
    match found[..] {
        [rows, width] if usize::try_from(rows) == Ok(n_rows) && width > 0 => {
            Ok(numbers.chunks(numbers.len() / n_rows.max(1)).map(<[f32]>::to_vec).collect())
        }
        _ => Err(format!("its output has the shape {found:?} for {n_rows} rows; an embedding for each was expected")),
    }
}

fn failed(path: &Path, message: String) -> WorkError {
    // onnxruntime has no code of its own for it.
    if message.contains("Failed to allocate memory") || message.contains("bad_alloc") {
        return WorkError::OutOfMemory(message);
    }
    WorkError::Systemic(format!("cannot run {}: {message}", path.display()))
}
