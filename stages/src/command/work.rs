//! A batch: its rows are written, the program is run, its rows are read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cafe_pipeline::stage::{BatchOutcome, Cost, FanOut, RowWork, WorkContext, WorkError};
use polars::prelude::DataFrame;

use super::argv::{Argument, Redactor, environment};
use super::config::Mode;
use super::contract::{self, Contract};
use super::oneshot;
use super::pool::{self, Pool};
use super::process::Launch;
use super::serve::{Patience, STRETCH, Server};
use crate::join::Join;

/// The work of a `command` stage.
pub(super) struct CommandWork {
    pub(super) argv: Vec<Argument>,
    pub(super) mode: Mode,
    pub(super) contract: Contract,
    pub(super) columns: Option<Vec<String>>,
    pub(super) joins: Vec<Join>,
    pub(super) batch_rows: usize,
    pub(super) patience: Patience,
    pub(super) row_deadline: Option<Duration>,
    pub(super) env: Vec<String>,
    pub(super) journal: bool,
    pub(super) workdir: PathBuf,
    pub(super) model_family: String,
    pub(super) pool: Pool,
    pub(super) n_batches: AtomicU64,
}

/// The files of a batch, removed with it.
struct BatchFolder {
    path: PathBuf,
    input: PathBuf,
    output: PathBuf,
}

impl BatchFolder {
    fn create(path: PathBuf) -> Result<Self, WorkError> {
        fs::create_dir_all(&path).map_err(|error| WorkError::io(path.display(), &error))?;
        Ok(Self { input: path.join("input.parquet"), output: path.join("output.parquet"), path })
    }
}

impl Drop for BatchFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl RowWork for CommandWork {
    fn row_id(&self) -> &str {
        &self.contract.id_column
    }

    fn columns(&self) -> Option<Vec<String>> {
        self.columns.clone()
    }

    fn batch_rows(&self) -> usize {
        self.batch_rows
    }

    fn journaled(&self) -> bool {
        self.journal
    }

    /// Our own deadlines come first; this one is for the case that they fail.
    fn row_deadline(&self) -> Duration {
        match self.mode {
            Mode::Oneshot => self.patience.deadline + Duration::from_secs(60),
            Mode::Serve => self.patience.start + self.patience.deadline * STRETCH + Duration::from_secs(60),
        }
    }

    fn fan_out(&self) -> FanOut {
        self.contract.fan_out
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        self.joins.iter().try_fold(rows, |rows, join| join.add(context, rows))
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        context.cancel.check()?;
        let scratch = absolute(&context.scratch).map_err(|error| WorkError::io(context.scratch.display(), &error))?;
        let batch = self.n_batches.fetch_add(1, Ordering::Relaxed);
        let folder = BatchFolder::create(scratch.join(format!("batch-{batch}")))?;
        contract::write_input(rows, &folder.input)?;

        let redactor = Redactor::new(&self.env);
        let device_ms = match self.mode {
            Mode::Oneshot => self.run(context, &folder, rows.height(), &redactor)?,
            Mode::Serve => self.ask(context, &folder, rows.height(), &redactor)?,
        };
        context.cancel.check()?;
        let mut outcome = self.contract.read_output(&folder.output, rows, context.seed, &redactor)?;
        outcome.cost = Cost { device_ms, n_tries: 1, ..Cost::default() };
        Ok(outcome)
    }
}

impl CommandWork {
    /// How long a batch of `n_rows` may take.
    fn deadline(&self, n_rows: usize) -> Duration {
        let rows = u32::try_from(n_rows.max(1)).unwrap_or(u32::MAX);
        let by_rows = self.row_deadline.map(|row| row.saturating_mul(rows));
        by_rows.map_or(self.patience.deadline, |by_rows| by_rows.min(self.patience.deadline))
    }

    fn run(
        &self,
        context: &WorkContext,
        folder: &BatchFolder,
        n_rows: usize,
        redactor: &Redactor,
    ) -> Result<u64, WorkError> {
        let values = BTreeMap::from([
            ("input", path_text(&folder.input)?),
            ("output", path_text(&folder.output)?),
            ("shard", context.shard_index.to_string()),
        ]);
        let mut launch = self.launch(context, &folder.path, &values)?;
        launch.env.push(("CAFE_INPUT".into(), folder.input.clone().into()));
        launch.env.push(("CAFE_OUTPUT".into(), folder.output.clone().into()));
        let took = oneshot::run(&launch, self.deadline(n_rows), &context.cancel, redactor)?;
        Ok(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    fn ask(
        &self,
        context: &WorkContext,
        folder: &BatchFolder,
        n_rows: usize,
        redactor: &Redactor,
    ) -> Result<u64, WorkError> {
        // What a server was started for, its own folder aside.
        let wanted = self.launch(context, Path::new(""), &BTreeMap::new())?.argv;
        let mut server = match self.pool.take(|(key, _)| *key == wanted) {
            Some((_, server)) => server,
            None => self.start_server(context, redactor)?,
        };
        let patience = Patience { deadline: self.deadline(n_rows), ..self.patience };
        let files = (folder.input.as_path(), folder.output.as_path());
        let answer = server.request(files, n_rows, context.seed.0, patience, &context.cancel);
        self.pool.put(wanted, server);
        answer
    }

    fn start_server(&self, context: &WorkContext, redactor: &Redactor) -> Result<Server, WorkError> {
        let home = pool::Home::create()?;
        let launch = self.launch(context, home.path(), &BTreeMap::new())?;
        Server::start(&launch, home, self.patience, &context.cancel, redactor.clone())
    }

    fn launch(
        &self,
        context: &WorkContext,
        scratch: &Path,
        values: &BTreeMap<&str, String>,
    ) -> Result<Launch, WorkError> {
        let scratch_text = path_text(scratch)?;
        let cafe_data = if self.argv.iter().any(|argument| argument.placeholders().contains("cafe_data")) {
            let path = std::env::current_exe()
                .map_err(|error| WorkError::Systemic(format!("cannot find this program's own path: {error}")))?;
            path_text(&path)?
        } else {
            String::new()
        };
        let value = |name: &str| match name {
            "scratch" => scratch_text.clone(),
            "cafe_data" => cafe_data.clone(),
            "seed" => context.seed.0.to_string(),
            "stage" => context.node.clone(),
            "model_family" => self.model_family.clone(),
            name => values.get(name).cloned().unwrap_or_default(),
        };
        Ok(Launch {
            argv: self.argv.iter().map(|argument| argument.render(value)).collect(),
            workdir: self.workdir.clone(),
            env: environment(&self.env, scratch, &context.node, context.seed.0),
            piped: self.mode == Mode::Serve,
        })
    }
}

fn path_text(path: &Path) -> Result<String, WorkError> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
        WorkError::Systemic(format!(
            "the path {} is not UTF-8, which a program's arguments must be: keep the project in a folder with another name",
            path.display()
        ))
    })
}
