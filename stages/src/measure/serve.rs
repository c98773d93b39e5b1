//! Serve mode: requests on stdin, answers on stdout, one JSON object a line.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{MeasureError, measure};

/// Pause between heartbeats.
const BEAT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Request {
    id: u64,
    input: PathBuf,
    output: PathBuf,
}

/// Answers requests until `stdin` ends.
///
/// # Errors
/// When stdin or stdout break. Faults of a request are answered, not returned.
pub fn serve(id_column: Option<&str>, stdin: impl BufRead, mut stdout: impl Write) -> Result<(), MeasureError> {
    say(&mut stdout, &json!({ "ready": true, "protocol": 1 }))?;
    for line in stdin.lines() {
        let line = line.map_err(MeasureError::Talk)?;
        let request: Request = serde_json::from_str(&line).map_err(|error| MeasureError::Talk(error.into()))?;
        let began = Instant::now();
        let mut last_beat = began;
        let result = measure(&request.input, &request.output, id_column, || {
            if last_beat.elapsed() >= BEAT {
                last_beat = Instant::now();
                say(&mut stdout, &json!({ "heartbeat": true }))?;
            }
            Ok(())
        });
        let answer = match result {
            Ok(()) => {
                let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                json!({ "id": request.id, "ok": true, "device_ms": wall_ms })
            }
            Err(error @ MeasureError::Talk(_)) => return Err(error),
            Err(error) => {
                json!({ "id": request.id, "error": { "class": error.class(), "message": error.to_string() } })
            }
        };
        say(&mut stdout, &answer)?;
    }
    Ok(())
}

fn say(stdout: &mut impl Write, message: &Value) -> Result<(), MeasureError> {
    writeln!(stdout, "{message}").and_then(|()| stdout.flush()).map_err(MeasureError::Talk)
}
