//! From a manifest to a resumable, sharded, audited run.
//!
//! [`manifest`] reads what a person wrote and collects every mistake; [`plan`] compiles it into nodes, edges and shards
//! with fingerprints; [`executor`] makes the shards, each exactly once, whatever dies in between. This crate knows no
//! SQL, no tensors and no HTTP: the catalog, the stages and the storage come through traits ([`catalog::Catalog`],
//! [`stage::StageKind`], [`storage::Storage`]).

pub mod audit;
pub mod catalog;
pub mod digest;
pub mod dropped;
pub mod executor;
pub mod failpoint;
pub mod frame;
pub mod manifest;
pub mod plan;
pub mod query;
pub mod release;
pub mod stage;
pub mod storage;
pub mod text;

use std::any::Any;

/// The message of a caught panic.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a message".to_owned())
}
