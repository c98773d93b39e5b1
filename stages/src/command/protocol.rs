//! The JSON lines between us and a program in serve mode.

use std::io::{self, BufRead};
use std::path::Path;

use cafe_pipeline::stage::{ErrorClass, WorkError};
use serde::{Deserialize, Serialize};

/// Longest line that a program may write.
pub(super) const LINE_BYTES: usize = 1 << 20;

/// A request: one batch.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) id: u64,
    pub(super) input: &'a Path,
    pub(super) output: &'a Path,
    pub(super) n_rows: usize,
    pub(super) seed: u64,
}

/// A line of the program that belongs to the protocol.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Message {
    /// `{"ready": true, "protocol": 1}`
    Ready { ready: bool, protocol: u32 },
    /// `{"heartbeat": true}`
    Heartbeat {
        #[serde(rename = "heartbeat")]
        _heartbeat: bool,
    },
    /// `{"id": 1, "error": {"class": "poison", "message": "…"}}`
    Failed { id: u64, error: Failure },
    /// `{"id": 1, "ok": true, "device_ms": 120}`
    Done {
        id: u64,
        ok: bool,
        #[serde(default)]
        device_ms: Option<u64>,
    },
}

/// Why a batch failed.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Failure {
    pub(super) class: FailureClass,
    #[serde(default)]
    pub(super) message: String,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailureClass {
    /// Make the shard again with smaller batches.
    OutOfMemory,
    /// Try again later.
    Transient,
    /// Find the row by bisection.
    Poison,
    /// Stop the stage.
    Systemic,
}

impl Failure {
    /// As an error of the batch, `message` cleaned of secrets.
    pub(super) fn into_error(self, clean: impl Fn(&str) -> String) -> WorkError {
        let message = format!("the program reported: {}", clean(&self.message));
        match self.class {
            FailureClass::OutOfMemory => WorkError::OutOfMemory(message),
            FailureClass::Transient => WorkError::Transient(message),
            FailureClass::Poison => WorkError::poison(ErrorClass::Program, message),
            FailureClass::Systemic => WorkError::Systemic(message),
        }
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message.
    Message(Message),
    /// Anything else: for the log.
    Other(String),
    /// A line longer than [`LINE_BYTES`].
    TooLong,
    /// The end of the stream.
    End,
}

/// Reads the next line, never more than the bound of it.
pub(super) fn read_line(stream: &mut impl BufRead) -> io::Result<Line> {
    let mut bytes = Vec::new();
    let limit = LINE_BYTES as u64 + 1;
    let n = io::Read::take(&mut *stream, limit).read_until(b'\n', &mut bytes)?;
    if n == 0 {
        return Ok(Line::End);
    }
    if bytes.len() > LINE_BYTES {
        return Ok(Line::TooLong);
    }
    Ok(match serde_json::from_slice(&bytes) {
        Ok(message) => Line::Message(message),
        Err(_) => Line::Other(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Line> {
        let mut stream = text;
        let mut lines = Vec::new();
        loop {
            let line = read_line(&mut stream).unwrap();
            let last = matches!(line, Line::End | Line::TooLong);
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    #[test]
    fn messages_are_told_from_chatter() {
        let text = b"{\"ready\":true,\"protocol\":1}\nLoading: 10%\n{\"heartbeat\":true}\n{\"id\":3,\"ok\":true,\"device_ms\":7}\n\
            {\"id\":4,\"error\":{\"class\":\"out_of_memory\",\"message\":\"24 GB\"}}\n{\"step\":1}";
        let failure = Failure { class: FailureClass::OutOfMemory, message: "24 GB".to_owned() };
        assert_eq!(
            lines(text),
            [
                Line::Message(Message::Ready { ready: true, protocol: 1 }),
                Line::Other("Loading: 10%".to_owned()),
                Line::Message(Message::Heartbeat { _heartbeat: true }),
                Line::Message(Message::Done { id: 3, ok: true, device_ms: Some(7) }),
                Line::Message(Message::Failed { id: 4, error: failure }),
                Line::Other(r#"{"step":1}"#.to_owned()),
                Line::End,
            ]
        );
    }

    #[test]
    fn endless_lines_are_cut() {
        assert_eq!(lines(&vec![b'x'; LINE_BYTES + 5]), [Line::TooLong]);
    }
}
