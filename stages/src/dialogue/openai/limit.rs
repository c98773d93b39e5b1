//! How many requests may be on their way: grows by one for each round of answers, and halves when the server is busy, as TCP
//! does it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The limit of one server.
pub(super) struct Limit {
    most: f64,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    /// At least 1.
    allowed: f64,
    n_inside: usize,
    /// The server wants to be left alone until then.
    not_before: Option<Instant>,
    /// When it was last halved.
    halved: Option<Instant>,
}

/// One request's place; given back when it is dropped.
pub(super) struct Pass<'a> {
    limit: &'a Limit,
    began: Instant,
}

impl Limit {
    /// At most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        let state = State { allowed: most, n_inside: 0, not_before: None, halved: None };
        Self { most, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits for a place.
    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            match self.try_enter() {
                Ok(pass) => return pass,
                Err(None) => changed.await,
                Err(Some(until)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(until) => {}
                },
            }
        }
    }

    /// A place, or when there may be one, where that is known.
    fn try_enter(&self) -> Result<Pass<'_>, Option<Instant>> {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(until) = state.not_before.filter(|until| *until > now) {
            return Err(Some(until));
        }
        if state.n_inside as f64 + 1.0 > state.allowed.floor() {
            return Err(None);
        }
        state.n_inside += 1;
        Ok(Pass { limit: self, began: now })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The request was answered: there may be more.
    pub(super) fn answered(&self) {
        let mut state = self.limit.lock();
        state.allowed = (state.allowed + 1.0 / state.allowed).min(self.limit.most);
    }

    /// The server is busy: nobody asks it for `pause`, then half as many do. Requests that were on their way together are
    /// refused together, and halve it once.
    pub(super) fn refused(&self, pause: Duration) {
        let mut state = self.limit.lock();
        let now = Instant::now();
        if state.halved.is_none_or(|halved| self.began >= halved) {
            state.allowed = (state.allowed / 2.0).max(1.0);
            state.halved = Some(now);
        }
        let until = now + pause;
        state.not_before = Some(state.not_before.map_or(until, |before| before.max(until)));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.limit.lock().n_inside -= 1;
        self.limit.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_server_gets_fewer_and_then_more_again() {
        let limit = Limit::new(8);
        let passes: Vec<Pass<'_>> = (0..8).map(|_| limit.try_enter().unwrap_or_else(|_| panic!("full"))).collect();
        assert!(matches!(limit.try_enter(), Err(None)));
        let pause = Duration::from_millis(60);
        let began = Instant::now();
        for pass in &passes {
            pass.refused(pause);
        }
        drop(passes);
        assert!(matches!(limit.try_enter(), Err(Some(_))));
        let mut passes = vec![limit.enter().await];
        assert!(began.elapsed() >= pause);
        while let Ok(pass) = limit.try_enter() {
            passes.push(pass);
        }
        assert_eq!(passes.len(), 4);
        for _ in 0..40 {
            passes[0].answered();
        }
        while let Ok(pass) = limit.try_enter() {
            passes.push(pass);
        }
        assert_eq!(passes.len(), 8);
        // Who waits is told of a place.
        let first = passes.pop();
        let (entered, ()) = tokio::join!(limit.enter(), async { drop(first) });
        drop(entered);
        passes.clear();
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            limit.enter().await.refused(Duration::ZERO);
        }
        assert!((limit.lock().allowed - 1.0).abs() < 1e-9, "one is always allowed");
    }
}
