//! The stage kinds of the dataset, one folder each, and the tables that they read and write.

pub mod collect;
pub mod command;
pub mod filter;
pub mod ids;
pub mod import;
pub mod instruct;
pub mod measure;
pub mod models;
pub mod picture;
pub mod publish;
mod source;
pub mod tables;
#[cfg(test)]
pub(crate) mod testing;
pub mod training_pairs;
