//! Nodes: what a stage compiles to. Most stages are one node; `collect` is three (scan, dedup, collect).

use std::fmt;
use std::sync::Arc;

use polars::prelude::Schema;
use serde_json::Value;

use super::work::{Lister, RowWork, WholeWork};

/// A table that a node writes: its name and columns, in order. Every shard has exactly these columns.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDecl {
    /// `references`, `pairs`, `scores`, …
    pub name: String,
    /// Column names and types, in the order in which they stand in the file.
    pub columns: Arc<Schema>,
}

/// A table that a node reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The table's name.
    pub table: String,
    /// Which node it is read from.
    pub from: ReadFrom,
    /// Which of its shards.
    pub mapping: Mapping,
    /// Columns that it must have: in each of its writers, or for [`ReadFrom::Every`] in one of them. Checked by the plan.
    pub columns: Vec<String>,
    /// Whether it is left out where nothing upstream writes it; else that is a mistake of the manifest.
    pub is_optional: bool,
}

impl Read {
    /// Shard k of the nearest upstream stage that writes `table`.
    pub fn aligned(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            from: ReadFrom::Nearest,
            mapping: Mapping::Same,
            columns: Vec::new(),
            is_optional: false,
        }
    }

    /// All shards of the nearest upstream stage that writes `table`.
    pub fn all(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            from: ReadFrom::Nearest,
            mapping: Mapping::All,
            columns: Vec::new(),
            is_optional: false,
        }
    }

    /// The same, from a part of the same stage.
    #[must_use]
    pub fn from_part(mut self, part: &'static str) -> Self {
        self.from = ReadFrom::Part(part);
        self
    }

    /// The same, with columns that the plan finds in it or refuses.
    #[must_use]
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The same, left out where nothing upstream writes the table.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// The same, from every upstream stage that writes the table.
    #[must_use]
    pub fn from_every(mut self) -> Self {
        self.from = ReadFrom::Every;
        self
    }
}

/// Where a table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// A part of the same stage.
    Part(&'static str),
    /// The nearest stage upstream, along `needs`, that writes it; two at the same distance are an error.
    Nearest,
    /// Every stage upstream that writes it; at least one, unless the read is optional.
    Every,
}

/// Which shards of an upstream node a shard depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Shard k on shard k.
    Same,
    /// Every shard on all of them.
    All,
}

/// Where a node's shards come from.
#[derive(Clone)]
pub enum Bounds {
    /// A listing of the outside world, made at plan time, cut every `shard_rows` rows.
    Source(Arc<dyn Lister>),
    /// A listing made from the inputs once all of them are committed, cut every `shard_rows` rows.
    Barrier(Arc<dyn Lister>),
    /// Shard k for shard k of the first read.
    Aligned,
    /// One shard.
    Single,
}

impl Bounds {
    /// The name shown in plans.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Barrier(_) => "barrier",
            Self::Aligned => "aligned",
            Self::Single => "single",
        }
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How many rows of a table a done input row makes; checked by the executor, recounted by `audit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanOut {
    /// Exactly one in the node's first table.
    One,
    /// Any number.
    Many,
}

/// What a node does.
#[derive(Clone)]
pub enum Work {
    /// Row by row: the executor batches, bisects, journals, counts and writes.
    Rows(Arc<dyn RowWork>),
    /// Over whole tables at once.
    Whole(Arc<dyn WholeWork>),
}

impl fmt::Debug for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rows(_) => "rows",
            Self::Whole(_) => "whole",
        })
    }
}

/// A node as its stage kind declares it.
#[derive(Clone, Debug)]
pub struct NodeDecl {
    /// `None` for the node that bears the stage's name and that later stages read from; `Some("scan")` for a helper,
    /// called `collect.scan`.
    pub part: Option<&'static str>,
    /// Raised by hand when the same inputs and settings come to make other bytes.
    pub output_version: u32,
    /// Everything configured that can change an output byte, defaults filled in, digests for files. Nothing else: what
    /// stands here and changes makes the shards stale.
    pub settings: Value,
    /// The tables read; the rows of the first are the rows of the work.
    pub reads: Vec<Read>,
    /// The tables written.
    pub writes: Vec<TableDecl>,
    /// Where the shards come from.
    pub bounds: Bounds,
    /// What is done.
    pub work: Work,
}
