//! What the tests share.

/// A chat server with faults, shared with the stage's own tests.
#[path = "../../../stages/src/dialogue/tests/server.rs"]
pub(crate) mod chat;
pub(crate) mod forgetful;
pub(crate) mod hub;
pub(crate) mod kinds;
pub(crate) mod lab;
pub(crate) mod models;
pub(crate) mod program;
