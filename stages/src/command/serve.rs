//! A program that is started once and serves many batches.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use cafe_pipeline::stage::{Cancel, ErrorClass, WorkError};

use super::argv::Redactor;
use super::exit::{error_of, with_words};
use super::pool::Home;
use super::process::{Launch, Running, Tail};
use super::protocol::{LINE_BYTES, Line, Message, Request, read_line};

/// Version of the protocol, told by the program when it is ready.
pub(super) const PROTOCOL: u32 = 1;

/// A program that heartbeats forever is stopped after this many deadlines.
pub(super) const STRETCH: u32 = 10;

/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Time for a program to exit by itself once its stdin has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Lines waiting to be looked at; a program that floods stdout waits.
const WAITING_LINES: usize = 256;

/// Longest part of a line that goes into the log.
const LOG_CHARS: usize = 500;

/// How long a program may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) start: Duration,
    pub(super) deadline: Duration,
    pub(super) heartbeat: Duration,
}

/// A running server.
pub(super) struct Server {
    running: Running,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    stderr: Option<Tail>,
    redactor: Redactor,
    next_id: u64,
    /// Its own temporary folder, removed with it.
    _home: Home,
}

/// What a wait ended with.
enum Answer {
    Message(Message),
    Ended,
    TooLong,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(super) fn start(
        launch: &Launch,
        home: Home,
        patience: Patience,
        cancel: &Cancel,
        redactor: Redactor,
    ) -> Result<Self, WorkError> {
        let failed = |error| WorkError::Transient(format!("cannot follow the program's output: {error}"));
        let mut running = Running::start(launch)?;
        let child = running.child();
        let stdin = child.stdin.take();
        let stderr = child.stderr.take().map(Tail::follow).transpose().map_err(failed)?;
        let (sender, lines) = sync_channel(WAITING_LINES);
        if let Some(stdout) = child.stdout.take() {
            let redactor = redactor.clone();
            let read = move || forward(BufReader::new(stdout), &sender, &redactor);
            thread::Builder::new().name("command-serve".to_owned()).spawn(read).map_err(failed)?;
        }
        let mut server = Self { running, stdin, lines, stderr, redactor, next_id: 1, _home: home };
        server.await_ready(patience, cancel)?;
        Ok(server)
    }

    fn await_ready(&mut self, patience: Patience, cancel: &Cancel) -> Result<(), WorkError> {
        let until = Instant::now() + patience.start;
        loop {
            match self.wait(until, cancel)? {
                Some(Answer::Message(Message::Ready { ready: true, protocol: PROTOCOL })) => return Ok(()),
                Some(Answer::Message(Message::Ready { ready: true, protocol })) => {
                    return Err(WorkError::Systemic(format!(
                        "the program speaks protocol {protocol}, but this version speaks {PROTOCOL}"
                    )));
                }
                // Not yet ready: the start has its own, generous deadline.
                Some(Answer::Message(Message::Heartbeat { .. } | Message::Ready { .. })) => {}
                Some(Answer::Message(other)) => return Err(out_of_turn(&other, "before it was ready")),
                Some(Answer::TooLong) => return Err(too_long()),
                Some(Answer::Ended) => {
                    return Err(match self.end() {
                        // Nothing has been asked yet, so no row can be at fault.
                        WorkError::Poison { message, .. } => {
                            WorkError::Systemic(format!("the program ended before it was ready: {message}"))
                        }
                        error => error,
                    });
                }
                None => {
                    let message = format!(
                        "the program was not ready within {} s: it must write {{\"ready\": true, \"protocol\": {PROTOCOL}}} \
                         to stdout and flush it; raise `start_secs` when it only needs longer",
                        patience.start.as_secs_f64()
                    );
                    let _ = self.running.stop();
                    return Err(WorkError::Systemic(with_words(&message, &self.said())));
                }
            }
        }
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&self) -> bool {
        !self.running.has_ended()
    }

    /// Has a batch made. Returns the device time that the program told, else the wall time. After an error that leaves
    /// the conversation in an unknown state the server is dead.
    pub(super) fn request(
        &mut self,
        (input, output): (&Path, &Path),
        n_rows: usize,
        seed: u64,
        patience: Patience,
        cancel: &Cancel,
    ) -> Result<u64, WorkError> {
        let id = self.next_id;
        self.next_id += 1;
        let began = Instant::now();
        let mut line = serde_json::to_vec(&Request { id, input, output, n_rows, seed })
            .map_err(|error| WorkError::Systemic(format!("cannot write the request: {error}")))?;
        line.push(b'\n');
        // A request is far smaller than a pipe, so that this cannot block on a program that reads one at a time.
        let sent = self.stdin.as_mut().map(|stdin| stdin.write_all(&line).and_then(|()| stdin.flush()));
        if !matches!(sent, Some(Ok(()))) {
            return Err(self.end());
        }
        let last = began + patience.deadline * STRETCH;
        let mut until = began + patience.deadline;
        loop {
            match self.wait(until, cancel)? {
                Some(Answer::Message(Message::Heartbeat { .. })) => {
                    until = until.max(Instant::now() + patience.heartbeat).min(last);
                }
                Some(Answer::Message(Message::Done { id: done, ok: true, device_ms })) if done == id => {
                    let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    return Ok(device_ms.unwrap_or(wall_ms));
                }
                Some(Answer::Message(Message::Failed { id: failed, error })) if failed == id => {
                    return Err(error.into_error(|text| self.redactor.clean(text)));
                }
                Some(Answer::Message(other)) => {
                    let _ = self.running.kill();
                    return Err(out_of_turn(&other, &format!("in answer to request {id}")));
                }
                Some(Answer::TooLong) => {
                    let _ = self.running.kill();
                    return Err(too_long());
                }
                Some(Answer::Ended) => return Err(self.end()),
                None => {
                    let _ = self.running.stop();
                    let waited = began.elapsed().as_secs_f64();
                    let message = format!("the program gave no answer for {waited:.1} s and was killed");
                    return Err(WorkError::poison(ErrorClass::Hang, with_words(&message, &self.said())));
                }
            }
        }
    }

    /// Waits for a message; `None` when `until` has passed.
    fn wait(&mut self, until: Instant, cancel: &Cancel) -> Result<Option<Answer>, WorkError> {
        loop {
            if cancel.is_cancelled() {
                let _ = self.running.stop();
                return Err(WorkError::Cancelled);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(TICK)) {
                Ok(Line::Message(message)) => return Ok(Some(Answer::Message(message))),
                Ok(Line::Other(_)) => {}
                Ok(Line::TooLong) => return Ok(Some(Answer::TooLong)),
                Ok(Line::End) | Err(RecvTimeoutError::Disconnected) => return Ok(Some(Answer::Ended)),
                // A process that it started may hold its stdout open.
                Err(RecvTimeoutError::Timeout) if self.running.has_ended() => return Ok(Some(Answer::Ended)),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The error for a program that closed its stdout or ended in the middle of something.
    fn end(&mut self) -> WorkError {
        self.stdin = None;
        let ended_itself = self.running.wait_for(FAREWELL);
        let status = self.running.stop();
        self.stderr.iter().for_each(Tail::drain);
        let death = |message: String| WorkError::poison(ErrorClass::Death, message);
        match status {
            Ok(status) if !status.success() && ended_itself => match error_of(status, &self.said()) {
                WorkError::Poison { message, .. } => death(message),
                error => error,
            },
            _ => death(with_words("the program ended without an answer", &self.said())),
        }
    }

    fn said(&self) -> String {
        self.redactor.clean(&self.stderr.as_ref().map(Tail::text).unwrap_or_default())
    }
}

impl Drop for Server {
    /// The end of stdin asks the program to go; then it is made to.
    fn drop(&mut self) {
        self.stdin = None;
        self.running.wait_for(FAREWELL);
        let _ = self.running.stop();
    }
}

/// Sends messages on; what is none of the protocol goes into the log.
fn forward(mut stdout: BufReader<impl std::io::Read>, sender: &SyncSender<Line>, redactor: &Redactor) {
    loop {
        let line = read_line(&mut stdout).unwrap_or(Line::End);
        let is_last = matches!(line, Line::End | Line::TooLong);
        if let Line::Other(text) = &line {
            let text: String = redactor.clean(text).chars().take(LOG_CHARS).collect();
            tracing::info!(target: "command", "{text}");
            continue;
        }
        if sender.send(line).is_err() || is_last {
            return;
        }
    }
}

fn out_of_turn(message: &Message, when: &str) -> WorkError {
    WorkError::Systemic(format!(
        "the program wrote {message:?} {when}: see manifests/adapters/README.md for the protocol"
    ))
}

fn too_long() -> WorkError {
    WorkError::Systemic(format!("the program wrote a line of more than {LINE_BYTES} bytes to stdout"))
}
