//! Notices a batch that does not end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The clock of one attempt.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<(Instant, Duration)>>);

impl Watch {
    /// A batch begins, and may take so long.
    pub(super) fn began(&self, deadline: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), deadline));
    }

    /// It ended.
    pub(super) fn ended(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The deadline of the running batch, when it has passed.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let batch = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batch.filter(|(began, deadline)| began.elapsed() > *deadline).map(|(_, deadline)| deadline)
    }
}
