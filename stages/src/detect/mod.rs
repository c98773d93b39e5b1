//! Objects in pictures: a detector in Hugging Face's layout, as optimum exports DETR, YOLOS and Conditional DETR. An ONNX file with
//! `config.json` and `preprocessor_config.json` beside it.
//!
//! Pictures go through one by one: a batch would have to be padded to one size, and what is found in a row must not depend on its
//! neighbours. These models predict a set, so that nothing is suppressed afterwards.

mod config;
mod detector;
mod objects;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use detector::Detector;
pub(crate) use objects::Object;
pub use verify::verify;
