//! Who sees what was made before it is committed.

use std::fmt;

use crate::stage::BatchOutcome;

/// Sees what rows became as soon as that is durable in a journal, long before their shard is committed. It changes nothing: what it
/// is shown may be thrown away yet, and is shown again where another attempt makes it again. What children make of rows that
/// kill their processes is not shown.
///
/// Called from the threads that work, several at once; the work waits for it. A panic is told, and does no harm.
pub trait Onlooker: fmt::Debug + Send + Sync {
    /// Some rows of `node` became this.
    fn made(&self, node: &str, outcome: &BatchOutcome);
}
