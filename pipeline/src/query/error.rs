//! What can be wrong with a query, said so that the next one works.

use polars::error::PolarsError;
use polars::prelude::LazyFrame;

use crate::catalog::CatalogError;
use crate::text::listed;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no statement.
    #[error("the query is empty; ask for example: SELECT node, state, count(*) FROM shards GROUP BY node, state")]
    Empty,
    /// The statement does not only read.
    #[error(
        "`{statement}` is not allowed: queries only read. Write one SELECT (or WITH … SELECT, EXPLAIN SELECT, SHOW TABLES); \
         what the tables hold is changed by the manifest and `run`"
    )]
    ReadOnly {
        /// How it begins.
        statement: String,
    },
    /// It is not SQL as polars reads it.
    #[error("the query cannot be read: {0}")]
    Syntax(String),
    /// There is no such table.
    #[error("there is no table `{name}`{hint}; there are {tables}")]
    UnknownTable {
        /// The name.
        name: String,
        /// `; did you mean …?`, or empty.
        hint: String,
        /// Those that there are.
        tables: String,
    },
    /// A column is not in any of the tables read.
    #[error("{message}{hint}; {columns}")]
    UnknownColumn {
        /// What polars says.
        message: String,
        /// `; did you mean …?`, or empty.
        hint: String,
        /// Those that there are.
        columns: String,
    },
    /// A name of `WITH` would be taken for the table of the same name.
    #[error(
        "WITH gives the name `{name}` to a query, but a table has it, and the table would be read instead: choose another name"
    )]
    ShadowedTable {
        /// The name.
        name: String,
    },
    /// A file cannot be read.
    #[error("{0}; if a shard is damaged, `audit --verify` finds it, and `run` makes it again")]
    Read(String),
    /// Anything else that polars finds wrong with the query.
    #[error("{0}")]
    Failed(String),
    /// Polars panicked, over a damaged file or a defect of its own.
    #[error("the query made the reader panic: {0}; if a shard is damaged, `audit --verify` finds it")]
    Panicked(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The first lines of what polars says; behind them it prints its plan.
pub(super) fn tidy(error: &PolarsError) -> String {
    let text = error.to_string();
    let text = text.split("\n\n").next().unwrap_or_default().trim();
    text.trim_start_matches("sql parser error: ").to_owned()
}

/// Adds what there is to what polars says there is not.
pub(super) fn explain(error: PolarsError, frames: &mut [(&str, LazyFrame)]) -> QueryError {
    let message = tidy(&error);
    match root(&error) {
        PolarsError::IO { .. } | PolarsError::ComputeError(_) | PolarsError::OutOfBounds(_) => {
            QueryError::Read(message)
        }
        PolarsError::SQLSyntax(_) => QueryError::Syntax(message),
        PolarsError::ColumnNotFound(_) | PolarsError::SchemaFieldNotFound(_) => unknown_column(message, frames),
        PolarsError::SQLInterface(_) if message.contains("column") => unknown_column(message, frames),
        _ => QueryError::Failed(message),
    }
}

fn root(error: &PolarsError) -> &PolarsError {
    match error {
        PolarsError::Context { error, .. } => root(error),
        other => other,
    }
}

fn unknown_column(message: String, frames: &mut [(&str, LazyFrame)]) -> QueryError {
    let mut known = Vec::new();
    let mut columns = Vec::new();
    for (table, frame) in frames {
        let Ok(schema) = frame.collect_schema() else { continue };
        columns.push(format!("`{table}` has {}", listed(schema.iter_names().map(|name| name.as_str()), 40)));
        known.extend(schema.iter_names().map(ToString::to_string));
    }
    // The name stands in the message, in one kind of quotation marks or another.
    let word = message.split(['"', '\'', '`']).nth(1).unwrap_or(&message);
    let hint = hint(word, known.iter().map(String::as_str));
    QueryError::UnknownColumn { hint, columns: columns.join("; "), message }
}

/// `; did you mean …?` where one of `words` is near.
pub(super) fn hint<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    words
        .into_iter()
        .filter(|_| word.len() <= 64)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}
