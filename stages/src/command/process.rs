//! A program in a process group of its own: started with a clean environment, its output captured within bounds, and
//! killed whole, grandchildren included.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cafe_pipeline::stage::WorkError;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How much of a program's output is kept for messages: its end.
pub(super) const TAIL_BYTES: usize = 64 << 10;

/// Time between the polite signal and the deadly one.
const GRACE: Duration = Duration::from_secs(5);

/// How long readers may go on after the process group is dead: a process that left the group may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything that a process starts with.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) argv: Vec<String>,
    pub(super) workdir: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    /// Whether stdin and stdout are pipes to talk through; otherwise stdin is null and stdout is captured.
    pub(super) piped: bool,
}

/// The end of a stream.
#[derive(Clone, Default)]
pub(super) struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    done: Arc<AtomicBool>,
}

impl Tail {
    /// Reads `stream` on a thread of its own until its end, so that the program never blocks on a full pipe.
    pub(super) fn follow(mut stream: impl Read + Send + 'static) -> io::Result<Self> {
        let tail = Self::default();
        let ours = tail.clone();
        thread::Builder::new().name("command-output".to_owned()).spawn(move || {
            let mut chunk = [0; 8192];
            loop {
                match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(n) => tail.push(chunk.get(..n).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            tail.done.store(true, Ordering::Release);
        })?;
        Ok(ours)
    }

    fn push(&self, chunk: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(chunk);
        let excess = bytes.len().saturating_sub(TAIL_BYTES);
        bytes.drain(..excess);
    }

    /// Waits for the end of the stream, but not for long.
    pub(super) fn drain(&self) {
        let until = Instant::now() + DRAIN;
        while !self.done.load(Ordering::Acquire) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What stands in it, as text.
    pub(super) fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, rest) = bytes.as_slices();
        String::from_utf8_lossy(&[head, rest].concat()).trim().to_owned()
    }
}

/// A running program. Dropped, its whole group is killed.
pub(super) struct Running {
    child: Child,
    group: Pid,
    ended: bool,
}

impl Running {
    /// Starts it.
    pub(super) fn start(launch: &Launch) -> Result<Self, WorkError> {
        let (program, arguments) =
            launch.argv.split_first().ok_or_else(|| WorkError::Systemic("argv is empty".to_owned()))?;
        let stdio = if launch.piped { Stdio::piped } else { Stdio::null };
        let spawned = Command::new(executable(program, &launch.workdir))
            .args(arguments)
            .current_dir(&launch.workdir)
            .env_clear()
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdio())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        match spawned {
            Ok(child) => Ok(Self { group: Pid::from_child(&child), child, ended: false }),
            Err(error) => Err(cannot_start(program, &launch.workdir, &error)),
        }
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the program itself has ended. It is not reaped, so that its group id cannot be taken by another.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that there is nothing left to wait for.
        waitid(WaitId::Pid(self.group), options).map_or(true, |status| status.is_some())
    }

    /// Waits until the program has ended, for `limit` at most. Says whether it has.
    pub(super) fn wait_for(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            if self.has_ended() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Ends the whole group: politely first where the program still runs, then for certain.
    pub(super) fn stop(&mut self) -> io::Result<ExitStatus> {
        if !self.ended && !self.has_ended() {
            // ESRCH: it ended in between.
            let _ = kill_process_group(self.group, Signal::TERM);
            self.wait_for(GRACE);
        }
        self.kill()
    }

    /// Kills what is left of the group, and reaps the program.
    pub(super) fn kill(&mut self) -> io::Result<ExitStatus> {
        if !self.ended {
            // Not yet reaped: the group id is still ours.
            let _ = kill_process_group(self.group, Signal::KILL);
            self.ended = true;
        }
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// How a program ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => " (SIGILL)",
                6 => " (SIGABRT)",
                7 => " (SIGBUS)",
                9 => " (SIGKILL)",
                11 => " (SIGSEGV)",
                15 => " (SIGTERM)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => status.to_string(),
    }
}

/// A program named by a path with a slash is relative to the manifest's folder; a bare name is looked up in PATH.
fn executable(program: &str, workdir: &Path) -> PathBuf {
    if program.contains('/') { workdir.join(program) } else { PathBuf::from(program) }
}

fn cannot_start(program: &str, workdir: &Path, error: &io::Error) -> WorkError {
    let place = workdir.display();
    match error.kind() {
        io::ErrorKind::NotFound => WorkError::Systemic(format!(
            "cannot start `{program}`: no such program. Install it, put it on PATH, or give its path relative to \
             {place} as the first item of `argv`. For a script, its `#!` interpreter may be what is missing"
        )),
        io::ErrorKind::PermissionDenied => WorkError::Systemic(format!(
            "cannot start `{program}`: it is not executable. Run `chmod +x` on it, or name its interpreter as the first \
             item of `argv`, for example [\"python3\", \"{program}\"]"
        )),
        // The process table or the memory is full, or the file is being written: all of them pass.
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::ExecutableFileBusy => {
            WorkError::Transient(format!("cannot start `{program}`: {error}"))
        }
        _ => WorkError::Systemic(format!("cannot start `{program}` in {place}: {error}")),
    }
}
