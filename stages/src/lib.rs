//! The stage kinds of the dataset, one folder each, and the tables that they read and write.

pub mod benchmark;
mod clip;
pub mod collect;
pub mod command;
pub mod detect;
pub mod dialogue;
pub mod drawing;
pub mod export;
pub mod filter;
pub mod ids;
pub mod imagine;
pub mod import;
pub mod instruct;
mod join;
pub mod measure;
pub mod models;
mod onnx;
mod phash;
pub mod picture;
mod place;
pub mod previews;
pub mod publish;
pub mod report;
pub mod retrieve;
pub mod review;
pub mod score;
mod source;
pub mod synthesize;
pub mod tables;
#[cfg(test)]
pub(crate) mod testing;
mod thumbnail;
pub mod trace;
pub mod train;
pub mod training_pairs;
