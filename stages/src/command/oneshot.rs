//! A program that is started for each batch.

use std::time::{Duration, Instant};

use cafe_pipeline::stage::{Cancel, ErrorClass, WorkError};

use super::argv::Redactor;
use super::exit::{error_of, with_words};
use super::process::{Launch, Running, Tail};

/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Runs the program to its end. Returns its wall time.
pub(super) fn run(
    launch: &Launch,
    deadline: Duration,
    cancel: &Cancel,
    redactor: &Redactor,
) -> Result<Duration, WorkError> {
    let began = Instant::now();
    let mut running = Running::start(launch)?;
    let child = running.child();
    let follow = |error| WorkError::Transient(format!("cannot follow the program's output: {error}"));
    let stdout = child.stdout.take().map(Tail::follow).transpose().map_err(follow)?;
    let stderr = child.stderr.take().map(Tail::follow).transpose().map_err(follow)?;
    // What it says on stderr comes first to mind; many programs complain on stdout, though.
    let said = || {
        let text = |tail: &Option<Tail>| tail.as_ref().map(Tail::text).unwrap_or_default();
        let (out, err) = (text(&stdout), text(&stderr));
        redactor.clean(if err.is_empty() { &out } else { &err })
    };

    loop {
        let left = deadline.saturating_sub(began.elapsed());
        if running.wait_for(left.min(TICK)) {
            break;
        }
        if cancel.is_cancelled() {
            let _ = running.stop();
            return Err(WorkError::Cancelled);
        }
        if began.elapsed() >= deadline {
            let _ = running.stop();
            let message = format!("the program did not finish within {} s and was killed", deadline.as_secs_f64());
            return Err(WorkError::poison(ErrorClass::Hang, with_words(&message, &said())));
        }
    }
    // What it left behind in its group must not go on writing.
    let status =
        running.kill().map_err(|error| WorkError::Transient(format!("cannot wait for the program: {error}")))?;
    stdout.iter().chain(&stderr).for_each(Tail::drain);
    if status.success() { Ok(began.elapsed()) } else { Err(error_of(status, &said())) }
}
