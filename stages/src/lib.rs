//! The stage kinds of the dataset, one folder or file each, and the tables that they read and write.

pub mod command;
pub mod measure;
pub mod tables;
