//! Work on a shard of which processes die or hang, in processes of their own.
//!
//! A child works through the shard's batches and journals each. When it dies, the batch at fault is cut into parts,
//! which is written down, and another child goes on; a row of which two children died alone is quarantined. In the end
//! the journal knows every row, and the shard is assembled from it as any other.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::catalog::WorkItem;
use crate::digest::Fingerprint;
use crate::stage::{Cancel, ErrorClass, WorkError};
use crate::storage::Storage;

/// A batch that killed is cut into so many parts: a compromise between the children needed and the rows run alone.
const N_PARTS: usize = 8;
/// Children that must die of a row alone before the row is blamed: one may have died of something else.
const N_DEATHS: u32 = 2;
/// Beyond a batch's own deadline, before a child is taken for hung.
const GRACE: Duration = Duration::from_secs(1);
/// A child may take so long to start and to read its inputs.
const START: Duration = Duration::from_secs(120);

/// How to start a child: a program that calls [`super::work_isolated`] with the request read from the file named last.
#[derive(Clone, Debug)]
pub struct IsolateCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, before the request's file.
    pub args: Vec<String>,
}

/// What a child is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct IsolateRequest {
    /// The node's fingerprint: the child must have compiled the same plan.
    pub(super) fingerprint: Fingerprint,
    /// The work.
    pub(super) item: WorkItem,
    /// The batches to go through.
    pub(super) batches: Vec<Vec<u32>>,
    /// The journal that the child writes.
    pub(super) journal: String,
    /// Folder for temporary files.
    pub(super) scratch: PathBuf,
}

/// What a child says, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// A batch begins, and may take so long.
    Began { rows: Vec<u32>, deadline_ms: u64 },
    /// It ended.
    Ended { n_finished: usize },
    /// All batches are done.
    Done,
    /// It cannot be done.
    Failed { error: Fault },
}

/// A [`WorkError`] on its way between processes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    Transient(String),
    Unavailable(String),
    Poison(ErrorClass, String),
    Systemic(String),
    OutOfMemory(String),
    Damaged(i64, String, String),
    Dropped(String, Vec<i64>),
    DiskFull(String),
    Cancelled,
}

impl From<WorkError> for Fault {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Transient(message) => Self::Transient(message),
            WorkError::Unavailable(message) => Self::Unavailable(message),
            WorkError::Poison { class, message } => Self::Poison(class, message),
            WorkError::Systemic(message) => Self::Systemic(message),
            WorkError::OutOfMemory(message) => Self::OutOfMemory(message),
            WorkError::Damaged { shard_id, path, message } => Self::Damaged(shard_id, path, message),
            WorkError::Dropped { table, shards } => Self::Dropped(table, shards),
            WorkError::DiskFull(message) => Self::DiskFull(message),
            WorkError::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Fault> for WorkError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Transient(message) => Self::Transient(message),
            Fault::Unavailable(message) => Self::Unavailable(message),
            Fault::Poison(class, message) => Self::Poison { class, message },
            Fault::Systemic(message) => Self::Systemic(message),
            Fault::OutOfMemory(message) => Self::OutOfMemory(message),
            Fault::Damaged(shard_id, path, message) => Self::Damaged { shard_id, path, message },
            Fault::Dropped(table, shards) => Self::Dropped { table, shards },
            Fault::DiskFull(message) => Self::DiskFull(message),
            Fault::Cancelled => Self::Cancelled,
        }
    }
}

/// A death, as it is written down: of which rows, and how.
#[derive(Debug, Serialize, Deserialize)]
struct Death {
    rows: Vec<u32>,
    class: ErrorClass,
    message: String,
}

/// The batches that are left, and the rows that are to blame.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    batches: Vec<Vec<u32>>,
    alone: BTreeMap<u32, u32>,
    /// Rows to quarantine.
    pub(super) blamed: Vec<(u32, ErrorClass, String)>,
}

impl Bounds {
    /// The grid, cut by the deaths written down in `path`.
    fn load(grid: Vec<Vec<u32>>, storage: &dyn Storage, paths: &[String]) -> Self {
        let mut bounds = Self { batches: grid, ..Self::default() };
        for path in paths {
            let mut text = String::new();
            // A torn last line is a death that was not written down: it will be met again.
            if storage.open(path).and_then(|mut file| file.read_to_string(&mut text)).is_ok() {
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|death| bounds.apply(death));
            }
        }
        bounds
    }

    fn apply(&mut self, death: Death) {
        if let [row] = death.rows[..] {
            let n_deaths = self.alone.entry(row).or_default();
            *n_deaths += 1;
            if *n_deaths == N_DEATHS {
                self.batches.retain(|batch| batch[..] != [row]);
                self.blamed.push((row, death.class, death.message));
            }
            return;
        }
        for batch in &mut self.batches {
            batch.retain(|row| !death.rows.contains(row));
        }
        self.batches.retain(|batch| !batch.is_empty());
        self.batches.extend(death.rows.chunks(death.rows.len().div_ceil(N_PARTS).max(1)).map(<[u32]>::to_vec));
        self.batches.sort_unstable();
    }
}

/// The parent's side.
pub(super) struct Isolation<'a> {
    pub(super) command: &'a IsolateCommand,
    pub(super) storage: &'a dyn Storage,
    pub(super) cancel: &'a Cancel,
    /// Where deaths are written down, this attempt's file last.
    pub(super) deaths: Vec<String>,
    pub(super) request: IsolateRequest,
}

impl Isolation<'_> {
    /// Runs children until every row is in the journal or to blame.
    pub(super) fn run(mut self, on_rows: impl Fn(usize)) -> Result<Bounds, WorkError> {
        let mut bounds = Bounds::load(std::mem::take(&mut self.request.batches), self.storage, &self.deaths);
        for child in 0.. {
            if bounds.batches.is_empty() {
                break;
            }
            self.cancel.check()?;
            self.request.batches.clone_from(&bounds.batches);
            // Each child has its own journal: the last one may have left a torn tail.
            let journal = format!("{}.{child}", self.request.journal);
            let Some(death) = self.child(&journal, &on_rows)? else { break };
            self.write_down(&death)?;
            bounds.apply(death);
        }
        Ok(bounds)
    }

    fn write_down(&self, death: &Death) -> Result<(), WorkError> {
        let Some(path) = self.deaths.last() else { return Ok(()) };
        let mut line = serde_json::to_string(death).unwrap_or_default();
        line.push('\n');
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.storage
            .append(path, line.as_bytes())
            .and_then(|()| self.storage.sync(path))
            .and_then(|()| self.storage.sync_folder(folder))
            .map_err(|error| WorkError::io(path, &error))
    }

    /// One child, to its end: `None` when it did all, else how it died.
    fn child(&self, journal: &str, on_rows: &impl Fn(usize)) -> Result<Option<Death>, WorkError> {
        let request = IsolateRequest {
            journal: journal.to_owned(),
            item: self.request.item.clone(),
            batches: self.request.batches.clone(),
            scratch: self.request.scratch.clone(),
            fingerprint: self.request.fingerprint,
        };
        let file = write_request(&request)?;
        let mut child = Command::new(&self.command.program)
            .args(&self.command.args)
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                WorkError::Systemic(format!("cannot start {}: {error}", self.command.program.display()))
            })?;
        let stderr = child.stderr.take().map(|stderr| std::thread::spawn(move || tail(stderr)));
        let reports = reports_of(&mut child);
        let (mut current, mut hung): (Option<Vec<u32>>, bool) = (None, false);
        let mut until = Instant::now() + START;
        let mut failed = None;
        loop {
            match reports.recv_timeout(Duration::from_millis(100)) {
                Ok(Report::Began { rows, deadline_ms }) => {
                    current = Some(rows);
                    until = Instant::now() + Duration::from_millis(deadline_ms) + GRACE;
                }
                Ok(Report::Ended { n_finished }) => {
                    current = None;
                    until = Instant::now() + START;
                    on_rows(n_finished);
                }
                Ok(Report::Done) => {}
                Ok(Report::Failed { error }) => failed = Some(error),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    hung = Instant::now() > until;
                    if hung || self.cancel.is_cancelled() {
                        let _ = child.kill();
                    }
                }
            }
        }
        let status = child.wait().map_err(|error| WorkError::Transient(format!("waiting for a child: {error}")))?;
        let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
        self.cancel.check()?;
        match (failed, status.success(), current) {
            (Some(fault), ..) => Err(fault.into()),
            (None, true, _) => Ok(None),
            (None, false, Some(rows)) => {
                let (class, message) = cause(hung, &status.to_string(), &stderr);
                Ok(Some(Death { rows, class, message }))
            }
            // It died of something else than a batch.
            (None, false, None) => Err(WorkError::Transient(format!("a child ended with {status}: {stderr}"))),
        }
    }
}

/// What a person should know of a death.
fn cause(hung: bool, status: &str, stderr: &str) -> (ErrorClass, String) {
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if hung {
        (ErrorClass::Hang, "did not finish before its deadline, twice, alone in a process of its own".to_owned())
    } else if stderr.contains("memory allocation of") || status.contains("signal: 9") {
        (
            ErrorClass::OutOfMemory,
            format!("exhausted the memory, twice, alone in a process of its own ({status}): {last}"),
        )
    } else {
        (ErrorClass::Death, format!("ended its process, twice, alone in one of its own ({status}): {last}"))
    }
}

fn write_request(request: &IsolateRequest) -> Result<PathBuf, WorkError> {
    let failed = |error: std::io::Error| WorkError::io(request.scratch.display(), &error);
    std::fs::create_dir_all(&request.scratch).map_err(failed)?;
    let file = request.scratch.join("request.json");
    let bytes = serde_json::to_vec(request).map_err(|error| WorkError::Systemic(error.to_string()))?;
    std::fs::write(&file, bytes).map_err(failed)?;
    Ok(file)
}

/// Reads a request.
///
/// # Errors
/// When the file is not one.
pub fn read_request(file: &Path) -> Result<IsolateRequest, WorkError> {
    let bytes = std::fs::read(file).map_err(|error| WorkError::io(file.display(), &error))?;
    serde_json::from_slice(&bytes).map_err(|error| WorkError::Systemic(format!("{}: {error}", file.display())))
}

/// Writes one report for the parent.
pub(super) fn tell(out: &mut dyn Write, report: &Report) {
    // A parent that is gone cannot be told; the child ends by its closed stdin.
    if let Ok(line) = serde_json::to_string(report) {
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

fn reports_of(child: &mut Child) -> Receiver<Report> {
    let (sender, receiver) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for report in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// The end of a stream.
fn tail(mut stream: impl Read) -> String {
    const KEPT: usize = 4096;
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(n_bytes @ 1..) = stream.read(&mut chunk) {
        kept.extend_from_slice(chunk.get(..n_bytes).unwrap_or_default());
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(rows: impl IntoIterator<Item = u32>) -> Death {
        Death { rows: rows.into_iter().collect(), class: ErrorClass::Death, message: String::new() }
    }

    #[test]
    fn a_deadly_row_is_found_in_few_steps_and_blamed_the_second_time() {
        let grid: Vec<Vec<u32>> = vec![(0..64).collect(), (64..100).collect()];
        let mut bounds = Bounds { batches: grid, ..Bounds::default() };
        let mut n_children = 0;
        while let Some(batch) = bounds.batches.iter().find(|batch| batch.contains(&70)).cloned() {
            bounds.apply(death(batch));
            n_children += 1;
        }
        assert_eq!(n_children, 4);
        assert_eq!(bounds.blamed.len(), 1);
        assert_eq!(bounds.blamed[0].0, 70);
        let mut left: Vec<u32> = bounds.batches.concat();
        left.sort_unstable();
        assert_eq!(left, (0..100).filter(|row| *row != 70).collect::<Vec<_>>());
    }
}
