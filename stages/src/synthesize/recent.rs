//! What was made of references, for their other pairs.

use std::sync::{Arc, Mutex, PoisonError};

/// What was made of the references that somebody works with, and of the last one: a reference's pairs stand together, and
/// each worker is at a reference of its own. So one worker keeps one, and many keep no more than they hold anyway.
pub(super) struct Recent<T>(Mutex<Vec<(String, Arc<T>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Recent<T> {
    /// What was made under `key`, if it is there still.
    pub(super) fn find(&self, key: &str) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == key).map(|(_, made)| Arc::clone(made))
    }

    /// Keeps what was made under `key`; what nobody holds any more goes.
    pub(super) fn keep(&self, key: String, made: T) -> Arc<T> {
        let made = Arc::new(made);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, other)| Arc::strong_count(other) > 1);
        kept.push((key, Arc::clone(&made)));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_and_what_is_not_makes_room() {
        let recent = Recent::default();
        let held = recent.keep("a".to_owned(), 1);
        recent.keep("b".to_owned(), 2);
        // Nobody holds b, but it is the last.
        assert_eq!((recent.find("a").as_deref(), recent.find("b").as_deref()), (Some(&1), Some(&2)));
        recent.keep("c".to_owned(), 3);
        assert_eq!((recent.find("a").as_deref(), recent.find("b")), (Some(&1), None));
        drop(held);
        recent.keep("d".to_owned(), 4);
        assert_eq!((recent.find("a"), recent.find("c"), recent.find("d").as_deref()), (None, None, Some(&4)));
    }
}
