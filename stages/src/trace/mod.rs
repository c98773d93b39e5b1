//! Where a row comes from: everything that the tables and the books say of one id, from the reference picture to the
//! releases.
//!
//! What is followed are ids. A table's first column names its rows, and other columns that end in `_id` refer to other rows:
//! so scores, verdicts, dialogues and whatever else stands beside a candidate is found without being known here. Rows above
//! (reference, pair, w) are told whole; of rows below, which may be many, those made of the traced row alone are told
//! (the quadruplet of a candidate), and the others are counted.

mod chain;
mod find;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use cafe_pipeline::catalog::{LedgerEntry, QuarantineEntry};
use cafe_pipeline::query::{QueryError, QuerySource};
use polars::error::PolarsError;
use serde::Serialize;
use serde_json::{Map, Value};

pub use text::to_text;

/// Ids that can be traced, what is made last first: column, what it names, and the table that it is the id of.
pub const KINDS: [(&str, &str, &str); 5] = [
    ("quadruplet_id", "quadruplet", "quadruplets"),
    ("candidate_id", "candidate", "candidates"),
    ("w_id", "w", "donors"),
    ("pair_id", "pair", "pairs"),
    ("reference_id", "reference", "references"),
];

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No row has the id.
    #[error("no row of this project has the id `{id}`{hint}")]
    Unknown {
        /// The id.
        id: String,
        /// Ids that are near, or where else the id stands.
        hint: String,
    },
    /// The beginning of an id is that of several.
    #[error("`{id}` is the beginning of {n} ids: {ids}; write more of it")]
    Ambiguous {
        /// What was given.
        id: String,
        /// How many.
        n: usize,
        /// Some of them.
        ids: String,
    },
    /// A table cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A table is not what its name promises.
    #[error("a table cannot be read: {0}; if a shard is damaged, `audit --verify` finds it")]
    Table(#[from] PolarsError),
}

/// What the catalog knows besides the tables.
#[derive(Debug)]
pub struct Books {
    /// The tables.
    pub source: QuerySource,
    /// All attempts.
    pub ledger: Vec<LedgerEntry>,
    /// Rows in quarantine.
    pub quarantine: Vec<QuarantineEntry>,
}

/// Where a row comes from.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// The id asked for, in full.
    pub id: String,
    /// `candidate`, `pair`, …
    pub kind: &'static str,
    /// From the reference to what was made last; the row asked for is among them.
    pub chain: Vec<Link>,
    /// Rows made of the one asked for that are not told one by one: what they are → how many, and some of their ids.
    pub made_of_it: BTreeMap<&'static str, Below>,
    /// What made the rows of the chain, in their order.
    pub attempts: Vec<Attempt>,
    /// Releases that the quadruplets of the chain are in, oldest first.
    pub releases: Vec<String>,
}

/// One thing of the chain: all rows that bear its id.
#[derive(Debug, Serialize)]
pub struct Link {
    /// `reference`, `pair`, `w`, `candidate`, `quadruplet`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its own row first, then what stands beside it: scores, verdicts, dialogues.
    pub rows: Vec<Row>,
    /// Stages that put it into quarantine.
    pub quarantine: Vec<QuarantineEntry>,
}

/// A row of a table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The table.
    pub table: String,
    /// The node that wrote it.
    pub node: String,
    /// The shard that it stands in.
    pub shard_index: u32,
    /// Its place there.
    pub row: u64,
    /// The shard's file, relative to the storage root.
    pub path: String,
    /// Digest of the file's bytes.
    pub digest: String,
    /// Its values; pictures as their size and digest.
    pub values: Map<String, Value>,
    #[serde(skip)]
    shard_id: i64,
}

/// Rows below.
#[derive(Debug, Default, Serialize)]
pub struct Below {
    /// How many.
    pub n: u64,
    /// The first of them, by id.
    pub ids: Vec<String>,
}

/// An attempt at a shard that rows of the chain stand in.
#[derive(Debug, Serialize)]
pub struct Attempt {
    /// As it stands in the ledger.
    #[serde(flatten)]
    pub entry: LedgerEntry,
    /// Rows of the shard, which share the cost.
    pub n_rows: u64,
    /// An equal part of the wall time.
    pub wall_ms_per_row: f64,
}

/// Follows `id`, or the only id that begins with it, through the tables. Releases are left to be filled in: the catalog
/// knows them. Blocks, and uses all threads of polars.
///
/// # Errors
/// See [`TraceError`].
pub fn trace(books: &Books, id: &str) -> Result<Trace, TraceError> {
    let tables = books.source.node_tables()?;
    let (kind, id) = find::find(&tables, &books.quarantine, id)?;
    chain::follow(books, &tables, kind, id)
}
