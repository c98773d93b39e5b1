//! Why files could not be had from some place, by what is done about it.

use std::path::Path;

use crate::failure::Failure;

/// Why files could not be had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A signal.
    Stopped,
    /// Of this machine, as a full disk is: no other place would help.
    Here(String),
    /// May be gone when it is tried again.
    Passing(String),
    /// Is there until somebody changes something.
    Lasting(String),
}

impl Trouble {
    /// Of the file system, at `path`.
    pub(super) fn at(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |error| Self::Here(format!("{path}: {error}"))
    }
}

/// `130`, where a signal ended it.
pub(crate) enum Stop {
    /// A signal.
    Stopped,
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Stopped => Self::Stopped,
            Trouble::Here(text) | Trouble::Passing(text) => Failure::Transient(text).into(),
            Trouble::Lasting(text) => Failure::Plan(text, String::new()).into(),
        }
    }
}
