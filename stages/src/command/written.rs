//! The table that a `command` stage writes: one of the dataset's own, or one with the columns that the manifest declares.

use std::collections::BTreeMap;
use std::sync::Arc;

use cafe_pipeline::manifest::child_pointer;
use cafe_pipeline::stage::{ConfigIssue, ROW, TableDecl};
use polars::prelude::{DataType, Field, Schema};

use super::config::{ColumnType, CommandConfig};
use super::contract::ERROR;
use crate::tables;

/// The table that the stage writes.
pub(super) fn written(
    config: &CommandConfig,
    id_column: Option<&str>,
    issues: &mut Vec<ConfigIssue>,
) -> Option<TableDecl> {
    if config.writes == config.reads {
        let message = format!("`{}` is what the stage reads", config.writes);
        issues.push(ConfigIssue::new("/writes", message).with_help("write another table, for example \"scores\""));
        return None;
    }
    let fixed = match config.writes.as_str() {
        tables::REFERENCES => Some(tables::references()),
        tables::PAIRS => Some(tables::pairs()),
        tables::CANDIDATES => Some(tables::candidates()),
        tables::CANDIDATE_REFERENCES => Some(tables::candidate_references()),
        tables::VERDICTS => tables::id_column(&config.reads).map(tables::verdicts),
        _ => None,
    };
    match (&config.output, fixed) {
        (None, Some(fixed)) => Some(fixed),
        (Some(_), Some(_)) => {
            let message = format!("the columns of `{}` are fixed", config.writes);
            issues.push(ConfigIssue::new("/output", message).with_help("leave `output` out"));
            None
        }
        (None, None) => {
            let message = format!("the columns of `{}` are not known", config.writes);
            let help = "declare what the program adds, for example output = { sharpness = \"float64\" }";
            issues.push(ConfigIssue::new("/writes", message).with_help(help));
            None
        }
        (Some(output), None) => custom(&config.writes, output, id_column?, issues),
    }
}

fn custom(
    table: &str,
    output: &BTreeMap<String, ColumnType>,
    id_column: &str,
    issues: &mut Vec<ConfigIssue>,
) -> Option<TableDecl> {
    if output.is_empty() {
        issues.push(ConfigIssue::new("/output", "declares no column").with_help("name at least one, with its type"));
        return None;
    }
    for name in output.keys() {
        let problem = match name.as_str() {
            name if name == id_column => "is the id column, which is there by itself",
            ROW | ERROR => "has a meaning of its own in the contract",
            "" => "has no name",
            _ => continue,
        };
        issues.push(
            ConfigIssue::new(child_pointer("/output", name), format!("`{name}` {problem}"))
                .with_help("take it out, or rename it"),
        );
    }
    let id = Field::new(id_column.into(), DataType::String);
    let columns = output.iter().map(|(name, column)| Field::new(name.as_str().into(), column.data_type()));
    let columns = Schema::from_iter([id].into_iter().chain(columns));
    Some(TableDecl { name: table.to_owned(), columns: Arc::new(columns) })
}
