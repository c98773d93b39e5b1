//! A model in ONNX, and who runs it when.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use cafe_pipeline::stage::WorkError;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{PrimitiveTensorElementType, TensorRef};

use super::runtime::{self, Library, Runtime, RuntimeKind};

/// Most copies of a model that are in memory at once.
const MAX_SESSIONS: usize = 8;

/// A model in ONNX, loaded when it is first run.
///
/// onnxruntime shares one session's work among all cores; workers wait for each other, and decode meanwhile. tract works
/// on one core, so that each worker has a session of its own.
pub(crate) struct Graph {
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
    pub(crate) fn new(path: PathBuf, library: Library) -> Self {
        Self { path, library, sessions: Mutex::default(), returned: Condvar::new() }
    }

    /// What it runs on.
    pub(crate) fn backend(&self) -> Result<&'static str, WorkError> {
        Ok(runtime::get(&self.library)?.kind.name())
    }

    /// Runs it on `values` of `shape`, whose first number counts rows: a model with one input and one output. Returns an embedding
    /// for each row.
    pub(crate) fn run<T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static>(
        &self,
        shape: &[usize],
        values: &[T],
    ) -> Result<Vec<Vec<f32>>, WorkError> {
        self.with(|session| run(session, shape, values))
    }

    /// What `work` makes of it, alone with a session; the error is in words.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Session) -> Result<R, String>) -> Result<R, WorkError> {
        let mut taken = Taken { session: Some(self.take()?), graph: self };
        let made = match &mut taken.session {
            Some(session) => work(session),
            None => Err("its session is gone".to_owned()),
        };
        made.map_err(|message| self.failed(message))
    }

    /// A session that nobody else uses: one that is free, or a new one, or the next that is given back.
    fn take(&self) -> Result<Session, WorkError> {
        let runtime = runtime::get(&self.library)?;
        let most = match runtime.kind {
            RuntimeKind::OnnxRuntime => 1,
            RuntimeKind::Tract => MAX_SESSIONS,
        };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = sessions.free.pop() {
                return Ok(session);
            }
            if sessions.n_made < most {
                // Loaded under the lock: workers that start together do not all load at once.
                let session = load(&self.path, runtime).map_err(|message| self.failed(message))?;
                sessions.n_made += 1;
                return Ok(session);
            }
            sessions = self.returned.wait(sessions).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn failed(&self, message: String) -> WorkError {
        // onnxruntime has no code of its own for it.
        if message.contains("Failed to allocate memory") || message.contains("bad_alloc") {
            return WorkError::OutOfMemory(message);
        }
        let advice = match runtime::get(&self.library) {
            Ok(Runtime { kind: RuntimeKind::Tract, .. }) => {
                "; tract, which was to run it, knows a part of ONNX: `cafe-data models fetch onnxruntime` gets what knows all"
            }
            _ => "",
        };
        WorkError::Systemic(format!("cannot run {}: {message}{advice}", self.path.display()))
    }
}

/// A session that is given back, also by a worker that panics: the others wait for it.
struct Taken<'a> {
    session: Option<Session>,
    graph: &'a Graph,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut sessions = self.graph.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.free.extend(self.session.take());
        self.graph.returned.notify_one();
    }
}

fn load(path: &Path, runtime: &Runtime) -> Result<Session, String> {
    let mut builder = Session::builder(&runtime.environment).map_err(|error| error.to_string())?;
    // tract has neither levels nor threads to be set.
    if runtime.kind == RuntimeKind::OnnxRuntime {
        builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|error| error.to_string())?;
        builder = builder.with_intra_threads(rayon::current_num_threads()).map_err(|error| error.to_string())?;
        // Threads that wait by spinning would take the cores that pictures are decoded on.
        builder = builder.with_intra_op_spinning(false).map_err(|error| error.to_string())?;
    }
    builder.commit_from_file(path).map_err(|error| error.to_string())
}

fn run<T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static>(
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
