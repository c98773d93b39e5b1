//! What the tests share.

pub(crate) mod forgetful;
pub(crate) mod hub;
pub(crate) mod kinds;
pub(crate) mod lab;
pub(crate) mod models;
pub(crate) mod program;
