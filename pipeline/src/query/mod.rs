//! SQL over what a project has made, read-only: each table of the dataset over all its committed shards, and the
//! catalog's own tables beside them. Files are scanned lazily, so that columns not asked for (pixels) are never read.
//!
//! # Names
//! * `TABLE` (`references`, `pairs`, `scores`, …) holds the rows of every node that writes it. Where several nodes write
//!   it with the same columns, their rows stand one below the other; where they share the id in the first column and
//!   nothing else (scorers), they are joined on that id into one wide table, a null where a node has no such row; else
//!   they stand one below the other, with nulls for the columns that a node lacks.
//! * `TABLE_NODE` (`scores_clip`, `scanned_collect_scan`) holds the rows of one node; signs other than letters, digits
//!   and `_` in a node's name become `_`.
//! * [`CONTROL_TABLES`] come from the catalog: `shards`, `files`, `quarantine`, `ledger`, `releases`, `events`,
//!   `progress`; also under `catalog_shards` and so on.
//!
//! Where names clash, a table of the dataset comes before a node's, and a node's before the catalog's short name.
//! `SHOW TABLES` tells what there is.

mod cell;
mod control;
mod error;
mod names;
mod scan;
mod statement;
mod tables;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use polars::prelude::*;
use polars::sql::SQLContext;

pub use cell::{fields as value_fields, json as value_json, plain as value_text};
pub use control::CONTROL_TABLES;
pub use error::QueryError;
use names::{Entry, Names};
use statement::Statement;
pub use tables::{NodeTable, ROW_NUMBER, collect};
pub use write::{Format, write};

use crate::catalog::Catalog;
use crate::plan::Plan;
use crate::stage::{InputShard, TableDecl};
use crate::storage::Storage;

/// What queries are asked of.
#[derive(Clone, Debug, Default)]
pub struct QuerySource {
    root: PathBuf,
    files: Vec<InputShard>,
    declared: Vec<(String, TableDecl)>,
    control: BTreeMap<&'static str, DataFrame>,
}

impl QuerySource {
    /// The committed files of a project, whose paths are relative to `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, files: Vec<InputShard>) -> Self {
        Self { root: root.into(), files, ..Self::default() }
    }

    /// Adds the tables of `plan` of which no shard is made yet: they are empty, not unknown.
    #[must_use]
    pub fn with_plan(mut self, plan: &Plan) -> Self {
        let tables =
            plan.nodes.iter().flat_map(|node| node.decl.writes.iter().map(|table| (node.name.clone(), table.clone())));
        self.declared.extend(tables);
        self
    }

    /// Asks the catalog for all that `sql` names. The plan is used as [`Self::with_plan`] does.
    ///
    /// # Errors
    /// Of the catalog; when `sql` is not one statement that only reads.
    pub async fn gather(
        catalog: &dyn Catalog,
        storage: &dyn Storage,
        plan: Option<&Plan>,
        sql: &str,
    ) -> Result<Self, QueryError> {
        let statement = Statement::parse(sql)?;
        let mut source = Self::new(storage.root(), catalog.files().await?);
        if let Some(plan) = plan {
            source = source.with_plan(plan);
        }
        let named = Names::new(&source);
        let wanted = statement.tables.iter().filter_map(|table| match named.find(table) {
            Some(Entry::Control(name)) => Some(name),
            _ => None,
        });
        let wanted: Vec<&'static str> = wanted.collect();
        for name in wanted {
            let rows = control::gather(catalog, &source.files, name).await?;
            source.control.insert(name, rows);
        }
        Ok(source)
    }
}

/// Carries out one statement that only reads. Blocks, and uses all threads of polars.
///
/// # Errors
/// See [`QueryError`].
pub fn run_sql(source: &QuerySource, sql: &str) -> Result<DataFrame, QueryError> {
    run_with_engine(source, sql, Engine::Streaming)
}

fn run_with_engine(source: &QuerySource, sql: &str, engine: Engine) -> Result<DataFrame, QueryError> {
    let statement = Statement::parse(sql)?;
    let names = Names::new(source);
    if statement.shows_tables {
        return names.show();
    }
    if let Some(name) = statement.ctes.iter().find(|name| names.find(name).is_some()) {
        return Err(QueryError::ShadowedTable { name: name.clone() });
    }
    let mut context = SQLContext::new();
    let mut frames: Vec<(&str, LazyFrame)> = Vec::new();
    for table in &statement.tables {
        if let Some(entry) = names.find(table) {
            let frame = scan::frame(source, entry)?;
            context.register(table, frame.clone());
            frames.push((table, frame));
        } else if !statement.ctes.contains(table) && !statement::is_table_function(table) {
            return Err(names.unknown(table));
        }
    }
    let mut collect = |pushdown: bool| {
        // Files may be damaged, and a decoder may panic over them.
        catch_unwind(AssertUnwindSafe(|| {
            let plan = context.execute(sql)?;
            let plan = if pushdown { plan } else { plan.with_projection_pushdown(false) };
            // One plan has one result.
            plan.collect_with_engine(engine).map(|result| result.unwrap_single())
        }))
    };
    // Polars counts the rows of a UNION with 128-bit numbers, which this build of it lacks; it does so only when columns
    // are left out early.
    let collected = collect(true).or_else(|_| collect(false));
    match collected {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(error)) => Err(error::explain(error, &mut frames)),
        Err(panic) => Err(QueryError::Panicked(crate::panic_message(panic.as_ref()))),
    }
}
