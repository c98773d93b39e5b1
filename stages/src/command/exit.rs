//! What a program's end means for the batch.

use std::process::ExitStatus;

use cafe_pipeline::stage::{ErrorClass, WorkError};

use super::process::describe;

/// How much of a program's last words goes into a message.
const WORDS_BYTES: usize = 4 << 10;

/// The signal that the kernel ends processes with when memory runs out.
const SIGKILL: i32 = 9;

/// The error for a program that ended with `status`, having written `said`. It was not killed by us.
pub(super) fn error_of(status: ExitStatus, said: &str) -> WorkError {
    use std::os::unix::process::ExitStatusExt as _;

    let message = with_words(&format!("the program {}", describe(status)), said);
    match (status.code(), status.signal()) {
        // EX_UNAVAILABLE and EX_TEMPFAIL of sysexits.h.
        (Some(69 | 75), _) => WorkError::Transient(message),
        // EX_CONFIG.
        (Some(78), _) => WorkError::Systemic(message),
        (Some(126), _) => WorkError::Systemic(format!("{message}\n126 means: found, but not executable")),
        (Some(127), _) => {
            WorkError::Systemic(format!("{message}\n127 means: a program was not found; is it installed and on PATH?"))
        }
        // 137 is how shells and containers pass on SIGKILL.
        (Some(137), _) | (None, Some(SIGKILL)) => WorkError::OutOfMemory(format!(
            "{message}\nit was killed from outside, which is what the kernel does when memory runs out"
        )),
        (Some(_), _) => WorkError::poison(ErrorClass::Program, message),
        (None, _) => WorkError::poison(ErrorClass::Death, message),
    }
}

/// `message`, followed by the end of what the program wrote.
pub(super) fn with_words(message: &str, said: &str) -> String {
    let said = said.trim();
    if said.is_empty() {
        return message.to_owned();
    }
    let mut from = said.len().saturating_sub(WORDS_BYTES);
    while !said.is_char_boundary(from) {
        from += 1;
    }
    let (mark, words) = (if from > 0 { "…" } else { "" }, said.get(from..).unwrap_or_default());
    format!("{message}; its last words:\n{mark}{words}")
}
