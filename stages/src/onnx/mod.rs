//! Models in ONNX: what runs them, and one of them with its sessions.

mod graph;
mod runtime;

pub(crate) use graph::Graph;
pub(crate) use runtime::Library;
