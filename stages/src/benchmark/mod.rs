//! Benchmarks: pictures that must stay unseen in training. What nearly equals one of them is quarantined where it comes
//! in, and so gets no further.
//!
//! The plan reads the benchmark's files and knows them by their digests; it decodes neither them nor the source's
//! pictures, since every command makes a plan, and a source may have millions. The hashes are made when the first rows
//! are worked on, which decodes those anyway. Once a scan is committed, `plan` and `run` tell what it has kept out, and
//! refuse where the manifest says so (`on_match`).

mod config;
mod kept_out;
mod marks;

#[cfg(test)]
mod tests;

pub(crate) use config::overlaps;
pub use config::{Benchmark, OnMatch};
pub(crate) use kept_out::objection;
pub use kept_out::{ADVICE, KeptOut, guarded, kept_out};
pub(crate) use marks::{Guard, Marks};
