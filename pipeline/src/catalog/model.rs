//! The records that pass between pipeline and catalog.

mod commit;
mod look;
mod plan;
mod worker;

pub use commit::*;
pub use look::*;
pub use plan::*;
pub use worker::*;

/// A run's row in the catalog.
pub type RunId = i64;
/// A worker's row in the catalog.
pub type WorkerId = i64;

/// Shard index of the item that opens a barrier: it makes the listing by which the node is cut.
pub const OPENING: i64 = -1;
