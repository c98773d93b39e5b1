//! Two steps over the same items, the first ahead of the second.

use std::sync::mpsc::sync_channel;
use std::thread;

/// How many items are made and not yet taken, beside the one that is being made.
const AHEAD: usize = 2;

/// Calls `take` on this thread with what `make`, on another, makes of each item, in their order. `take` waits only where
/// `make` is slower: pictures are decoded while a model runs on those before them.
///
/// # Errors
/// The first of `take`; nothing is made any more then.
pub(super) fn overlapped<I: Sync, T: Send, E>(
    items: &[I],
    make: impl Fn(&I) -> T + Sync,
    mut take: impl FnMut(&I, T) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let make = &make;
        scope.spawn(move || {
            for item in items {
                if sender.send((item, make(item))).is_err() {
                    return;
                }
            }
        });
        // The receiver goes with an error, and with it the other thread.
        receiver.into_iter().try_for_each(|(item, made)| take(item, made))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_made_is_taken_in_order_and_made_ahead() {
        let n_made = AtomicUsize::new(0);
        let mut taken = Vec::new();
        let mut most = 0;
        let items: Vec<usize> = (0..20).collect();
        let make = |item: &usize| {
            n_made.fetch_add(1, Ordering::Relaxed);
            item * 2
        };
        overlapped(&items, make, |item, made| {
            thread::sleep(Duration::from_millis(5));
            most = most.max(n_made.load(Ordering::Relaxed) - *item);
            taken.push(made);
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(taken, (0..20).map(|item| item * 2).collect::<Vec<_>>());
        assert!((2..=AHEAD + 2).contains(&most), "{most} were made ahead");
    }

    #[test]
    fn an_error_ends_it() {
        let n_made = AtomicUsize::new(0);
        let items: Vec<usize> = (0..1000).collect();
        let make = |item: &usize| {
            n_made.fetch_add(1, Ordering::Relaxed);
            *item
        };
        assert_eq!(overlapped(&items, make, |item, _| if *item == 3 { Err(*item) } else { Ok(()) }), Err(3));
        assert!(n_made.load(Ordering::Relaxed) < 10);
    }
}
