//! Tables as lazy scans over their shards' files.

use std::fs::File;
use std::sync::Arc;

use polars::prelude::*;

use super::QuerySource;
use super::error::{QueryError, tidy};
use super::names::{Entry, Part};
use crate::frame;
use crate::stage::InputShard;

/// What a name stands for, as a lazy frame.
pub(super) fn frame(source: &QuerySource, entry: Entry<'_>) -> Result<LazyFrame, QueryError> {
    match entry {
        Entry::Control(name) => source.control.get(name).map(|rows| rows.clone().lazy()).ok_or_else(|| {
            QueryError::Failed(format!("the table `{name}` of the catalog was not gathered for this query"))
        }),
        Entry::Table(parts) => table(source, &parts),
    }
}

fn table(source: &QuerySource, parts: &[&Part<'_>]) -> Result<LazyFrame, QueryError> {
    let made: Vec<&&Part<'_>> = parts.iter().filter(|part| !part.files.is_empty()).collect();
    match made.as_slice() {
        [] => {
            let schema = parts.iter().find_map(|part| part.schema.cloned()).unwrap_or_default();
            Ok(DataFrame::empty_with_schema(&schema).lazy())
        }
        [part] => scan(source, &part.files, None),
        several => combined(source, several),
    }
}

/// Files of one or more nodes. Nothing is read here but, later, what a query asks of them.
fn scan<'a>(
    source: &QuerySource,
    files: impl IntoIterator<Item = &'a &'a InputShard>,
    schema: Option<SchemaRef>,
) -> Result<LazyFrame, QueryError> {
    scan_with(source, files, ScanArgsParquet { allow_missing_columns: schema.is_some(), schema, ..Default::default() })
}

/// The same, with options of polars'.
pub(super) fn scan_with<'a>(
    source: &QuerySource,
    files: impl IntoIterator<Item = &'a &'a InputShard>,
    options: ScanArgsParquet,
) -> Result<LazyFrame, QueryError> {
    let paths: PolarsResult<Vec<PlRefPath>> =
        files.into_iter().map(|file| PlRefPath::try_from_path(&source.root.join(&file.path))).collect();
    let options = ScanArgsParquet {
        // A `*` or a `=` in the name of a folder means itself.
        glob: false,
        hive_options: HiveOptions { enabled: Some(false), ..HiveOptions::default() },
        ..options
    };
    paths.and_then(|paths| LazyFrame::scan_parquet_files(paths.into(), options)).map_err(failed)
}

fn failed(error: PolarsError) -> QueryError {
    QueryError::Read(tidy(&error))
}

/// The columns of a file, from its footer.
pub(super) fn columns(source: &QuerySource, file: &InputShard) -> Result<Schema, QueryError> {
    File::open(source.root.join(&file.path))
        .map_err(PolarsError::from)
        .and_then(frame::columns)
        .map_err(|error| QueryError::Read(format!("{}: {}", file.path, tidy(&error))))
}

/// Several nodes' rows of one table: see the rules in the module's documentation.
fn combined(source: &QuerySource, parts: &[&&Part<'_>]) -> Result<LazyFrame, QueryError> {
    let mut schemas = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(first) = part.files.first() else { continue };
        schemas.push(columns(source, first)?);
    }
    if let Some(id) = joining_id(&schemas) {
        let options = JoinArgs::new(JoinType::Full).with_coalesce(JoinCoalesce::CoalesceColumns);
        let mut joined: Option<LazyFrame> = None;
        for part in parts {
            let right = scan(source, &part.files, None)?;
            joined = Some(match joined {
                Some(left) => left.join(right, [col(id.clone())], [col(id.clone())], options.clone()),
                None => right,
            });
        }
        return joined.ok_or_else(|| QueryError::Failed("a table without nodes".to_owned()));
    }
    let are_alike = schemas.windows(2).all(|pair| matches!(pair, [one, two] if one == two));
    let mut wide = Schema::default();
    for (name, dtype) in schemas.iter().flat_map(Schema::iter) {
        let known = wide.get(name).cloned();
        match known {
            Some(known) if known != *dtype => {
                return Err(QueryError::Failed(format!(
                    "the nodes that write this table disagree on column `{name}` ({known}, {dtype}): ask for one node's \
                     table, SHOW TABLES lists them"
                )));
            }
            Some(_) => {}
            None => {
                wide.insert(name.clone(), dtype.clone());
            }
        }
    }
    // One scan and not a concatenation: so that `count(*)` is answered from footers.
    scan(source, parts.iter().flat_map(|part| &part.files), (!are_alike).then(|| Arc::new(wide)))
}

/// The id in which alone the tables agree.
fn joining_id(schemas: &[Schema]) -> Option<PlSmallStr> {
    let (id, dtype) = schemas.first()?.get_at_index(0)?;
    let mut seen: Vec<&PlSmallStr> = Vec::new();
    for columns in schemas {
        if columns.get_at_index(0)? != (id, dtype) {
            return None;
        }
        for name in columns.iter_names().skip(1) {
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
        }
    }
    id.ends_with("_id").then(|| id.clone())
}
