//! Benchmarks: pictures that must stay unseen in training. What nearly equals one of them is quarantined where it comes
//! in, and so gets no further.
//!
//! The plan reads the benchmark's files and knows them by their digests; it decodes neither them nor the source's
//! pictures, since every command makes a plan, and a source may have millions. The hashes are made when the first rows
//! are worked on, which decodes those anyway.

mod config;
mod marks;

#[cfg(test)]
mod tests;

pub use config::Benchmark;
pub(crate) use config::overlaps;
pub(crate) use marks::{Guard, Marks};
