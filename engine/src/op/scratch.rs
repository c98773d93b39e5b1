//! Working memory that is used again: fresh pages cost more than a small convolution.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Buffers a thread keeps.
const KEPT: usize = 3;
/// Numbers in the largest buffer that is kept.
const LARGEST: usize = 12 << 20;

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of numbers left by whoever had it before; it goes back to this thread's when dropped.
pub(super) struct Scratch {
    buffer: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// `len` numbers of any value.
    pub(super) fn new(len: usize) -> Self {
        let mut buffer = POOL.with_borrow_mut(|pool| {
            // The smallest that is large enough, or else the largest.
            let fitting = (0..pool.len()).filter(|&at| pool[at].len() >= len).min_by_key(|&at| pool[at].len());
            let found = fitting.or_else(|| (0..pool.len()).max_by_key(|&at| pool[at].len()));
            found.map(|at| pool.swap_remove(at)).unwrap_or_default()
        });
        if buffer.len() < len {
            buffer = vec![0.0; len];
        }
        Self { buffer, len }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // A thread that ends has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if buffer.len() <= LARGEST && pool.len() < KEPT {
                pool.push(buffer);
            }
        });
    }
}
