//! What goes to a program and what comes back: Parquet files whose columns, types and ids are checked, so that a wrong
//! answer is an error that says what was expected and what was found, never a wrong dataset.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use cafe_pipeline::digest::Seed;
use cafe_pipeline::frame;
use cafe_pipeline::stage::{BatchOutcome, ErrorClass, FanOut, QuarantinedRow, ROW, TableDecl, WorkError, id_text};
use polars::prelude::*;

use super::argv::Redactor;
use super::candidates::Derive;
use super::config::type_name;
use super::conform::{self, Misfit};
use crate::tables;

/// The optional column by which a program refuses single rows.
pub(super) const ERROR: &str = "_error";

/// How many ids are named in a message.
const NAMED: usize = 3;

/// What is expected of a program's output.
#[derive(Clone, Debug)]
pub(super) struct Contract {
    /// Names an input row; the output has it too.
    pub(super) id_column: String,
    pub(super) written: TableDecl,
    pub(super) fan_out: FanOut,
    /// How columns of `candidates` that a program leaves out are filled.
    pub(super) derive: Option<Derive>,
}

/// The rows of a batch by their ids.
struct Ids {
    positions: HashMap<String, u32>,
    quarantined: Vec<QuarantinedRow>,
}

/// Writes the rows of a batch for the program.
pub(super) fn write_input(rows: &DataFrame, path: &Path) -> Result<(), WorkError> {
    let bytes = frame::to_parquet(&mut rows.clone(), &[])?;
    std::fs::write(path, bytes).map_err(|error| WorkError::io(path.display(), &error))
}

impl Contract {
    /// Reads and checks what the program made of `rows`.
    pub(super) fn read_output(
        &self,
        path: &Path,
        rows: &DataFrame,
        seed: Seed,
        redactor: &Redactor,
    ) -> Result<BatchOutcome, WorkError> {
        let ids = self.ids(rows)?;
        let output = self.load(path)?;
        let found = self.rows_of(&output, &ids)?;
        let mut quarantined = ids.quarantined;
        let mut refused: HashSet<u32> = quarantined.iter().map(|row| row.row).collect();
        let mut refuse = |row: u32, class: ErrorClass, message: String| {
            if refused.insert(row) {
                quarantined.push(QuarantinedRow { row, class, message });
            }
        };

        if let Ok(errors) = output.column(ERROR) {
            for (message, row) in errors.str()?.iter().zip(&found) {
                if let Some(message) = message {
                    refuse(*row, ErrorClass::Program, redactor.clean(message));
                }
            }
        }
        let output = match &self.derive {
            Some(derive) => derive.fill(output, &found, seed)?,
            None => output,
        };
        for name in self.required() {
            let nulls = conform::null_mask(output.column(name)?);
            for (row, _) in found.iter().zip(nulls).filter(|(_, is_null)| *is_null) {
                refuse(*row, ErrorClass::Invalid, format!("the program returned no value in column `{name}`"));
            }
        }
        if self.fan_out == FanOut::One {
            let returned: HashSet<u32> = found.iter().copied().collect();
            for row in (0..).take(rows.height()).filter(|row| !returned.contains(row)) {
                refuse(row, ErrorClass::Program, "the program returned no row for it".to_owned());
            }
        }

        let mut kept: Vec<(u32, IdxSize)> =
            found.into_iter().zip(0..).filter(|(row, _)| !refused.contains(row)).collect();
        // Stable: the rows made of one row stay in the order in which the program wrote them.
        kept.sort_by_key(|(row, _)| *row);
        let output = output.take(&IdxCa::from_vec("".into(), kept.iter().map(|(_, at)| *at).collect()))?;
        self.check_unique(&output)?;
        let mut output = output.select(self.written.columns.iter_names())?;
        output.with_column(Column::new(ROW.into(), kept.iter().map(|(row, _)| *row).collect::<Vec<u32>>()))?;
        quarantined.sort_by_key(|row| row.row);
        Ok(BatchOutcome {
            tables: [(self.written.name.clone(), output)].into(),
            quarantined,
            ..BatchOutcome::default()
        })
    }

    /// Columns of the written table that must have a value: its own id, and pixels.
    fn required(&self) -> impl Iterator<Item = &str> {
        let own = tables::id_column(&self.written.name);
        self.written
            .columns
            .iter()
            .filter(move |(name, dtype)| own == Some(name.as_str()) || **dtype == tables::image_type())
            .map(|(name, _)| name.as_str())
    }

    fn ids(&self, rows: &DataFrame) -> Result<Ids, WorkError> {
        let column = rows.column(&self.id_column)?.as_materialized_series();
        if *column.dtype() != DataType::String {
            return Err(WorkError::Systemic(format!(
                "column `{}` names the rows and must be string, but is {}: choose another `id_column`",
                self.id_column,
                type_name(column.dtype()),
            )));
        }
        let mut ids = Ids { positions: HashMap::with_capacity(rows.height()), quarantined: Vec::new() };
        for (value, row) in column.iter().zip(0..) {
            let invalid = |message| QuarantinedRow { row, class: ErrorClass::Invalid, message };
            if value.is_null() {
                ids.quarantined
                    .push(invalid(format!("`{}` is null, so that its result cannot be told", self.id_column)));
            } else if let Some(first) = ids.positions.insert(id_text(&value), row) {
                ids.positions.insert(id_text(&value), first);
                ids.quarantined.push(invalid(format!("`{}` is the same as that of another row", self.id_column)));
            }
        }
        Ok(ids)
    }

    /// The columns of the contract, in their types.
    fn load(&self, path: &Path) -> Result<DataFrame, WorkError> {
        let open = || {
            File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => WorkError::poison(
                    ErrorClass::Program,
                    "the program reported success but wrote no output: it must write a Parquet file to the path given as \
                     `{output}`",
                ),
                _ => WorkError::io(path.display(), &error),
            })
        };
        let not_parquet = |error: PolarsError| {
            WorkError::poison(
                ErrorClass::Program,
                format!("the program's output is not a readable Parquet file: {error}"),
            )
        };
        let schema = frame::columns(open()?).map_err(not_parquet)?;
        let mut wanted: Vec<(String, DataType)> = vec![(self.id_column.clone(), DataType::String)];
        wanted.extend(
            self.written
                .columns
                .iter()
                .filter(|(name, _)| name.as_str() != self.id_column)
                .map(|(name, dtype)| (name.to_string(), dtype.clone())),
        );
        if schema.contains(ERROR) {
            wanted.push((ERROR.to_owned(), DataType::String));
        }
        wanted.retain(|(name, _)| {
            schema.contains(name) || !self.derive.as_ref().is_some_and(|derive| derive.can_fill(name))
        });
        let missing: Vec<String> = wanted
            .iter()
            .filter(|(name, _)| !schema.contains(name))
            .map(|(name, dtype)| format!("`{name}` ({})", type_name(dtype)))
            .collect();
        if !missing.is_empty() {
            let found: Vec<&str> = schema.iter_names().map(PlSmallStr::as_str).collect();
            return Err(WorkError::Systemic(format!(
                "the program's output lacks column {}: it has {}",
                missing.join(", "),
                if found.is_empty() { "none".to_owned() } else { format!("`{}`", found.join("`, `")) },
            )));
        }
        let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let rows = frame::read(open()?, Some(&names)).map_err(not_parquet)?;
        let columns: Result<Vec<Column>, WorkError> =
            wanted.iter().map(|(name, dtype)| self.fit(rows.column(name)?, dtype)).collect();
        Ok(DataFrame::new(rows.height(), columns?)?)
    }

    fn fit(&self, column: &Column, wanted: &DataType) -> Result<Column, WorkError> {
        conform::conform(column, wanted).map_err(|misfit| match misfit {
            Misfit::Type => WorkError::Systemic(format!(
                "column `{}` of the program's output must be {}, but is {}: give it that type in the program, for example \
                 with an explicit schema in pyarrow, or declare the other one in `output`",
                column.name(),
                type_name(wanted),
                type_name(column.dtype()),
            )),
            Misfit::Value(message) => WorkError::poison(
                ErrorClass::Program,
                format!("column `{}` of the program's output has values beyond {}: {message}", column.name(), type_name(wanted)),
            ),
        })
    }

    /// For each row of the output, the row of the batch that it was made from.
    fn rows_of(&self, output: &DataFrame, ids: &Ids) -> Result<Vec<u32>, WorkError> {
        let mut rows = Vec::with_capacity(output.height());
        let mut unknown = Vec::new();
        for value in output.column(&self.id_column)?.as_materialized_series().iter() {
            let id = id_text(&value);
            match ids.positions.get(&id) {
                Some(row) => rows.push(*row),
                None => unknown.push(id),
            }
        }
        if !unknown.is_empty() {
            return Err(WorkError::poison(
                ErrorClass::Program,
                format!(
                    "the program returned {} with a `{}` that is not in its input: {}",
                    n_rows(unknown.len()),
                    self.id_column,
                    named(&unknown)
                ),
            ));
        }
        if self.fan_out == FanOut::One {
            let mut seen = HashSet::new();
            let twice: Vec<String> = output
                .column(&self.id_column)?
                .as_materialized_series()
                .iter()
                .zip(&rows)
                .filter(|(_, row)| !seen.insert(**row))
                .map(|(id, _)| id_text(&id))
                .collect();
            if !twice.is_empty() {
                return Err(WorkError::poison(
                    ErrorClass::Program,
                    format!(
                        "the program returned more than one row for {}: write `fan_out = \"many\"` if it may",
                        named(&twice)
                    ),
                ));
            }
        }
        Ok(rows)
    }

    /// The written table's own ids must differ.
    fn check_unique(&self, output: &DataFrame) -> Result<(), WorkError> {
        let Some(own) = tables::id_column(&self.written.name) else { return Ok(()) };
        let mut seen = HashSet::new();
        let twice: Vec<String> = output
            .column(own)?
            .as_materialized_series()
            .iter()
            .map(|value| id_text(&value))
            .filter(|id| !seen.insert(id.clone()))
            .collect();
        if twice.is_empty() {
            return Ok(());
        }
        Err(WorkError::poison(
            ErrorClass::Program,
            format!("the program returned several rows with the same `{own}`: {}", named(&twice)),
        ))
    }
}

fn n_rows(n: usize) -> String {
    if n == 1 { "a row".to_owned() } else { format!("{n} rows") }
}

fn named(ids: &[String]) -> String {
    let more = ids.len().saturating_sub(NAMED);
    let first: Vec<&str> = ids.iter().take(NAMED).map(String::as_str).collect();
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
