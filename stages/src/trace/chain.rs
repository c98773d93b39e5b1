//! Along the ids: up to the reference, down to the quadruplet.

use std::collections::{BTreeMap, BTreeSet};

use cafe_pipeline::query::{NodeTable, ROW_NUMBER, collect, value_fields, value_json};
use polars::prelude::*;
use serde_json::{Map, Value, json};

use super::{Attempt, Below, Books, KINDS, Link, Row, Trace, TraceError};

/// The position of candidates in [`KINDS`].
const CANDIDATE: usize = 1;
/// Ids told of rows below.
const NAMED: usize = 12;

/// Gathers the chain of the id of [`KINDS`] at `kind`.
pub(super) fn follow(books: &Books, tables: &[NodeTable<'_>], kind: usize, id: String) -> Result<Trace, TraceError> {
    let mut links: BTreeMap<usize, Vec<Link>> = BTreeMap::new();
    let mut seen: BTreeSet<(usize, String)> = BTreeSet::new();
    let mut todo = vec![(kind, id.clone())];
    let mut made_of_it: BTreeMap<&'static str, Below> = BTreeMap::new();
    while let Some((at, id)) = todo.pop() {
        let Some((column, name, own)) = KINDS.get(at) else { continue };
        if !seen.insert((at, id.clone())) {
            continue;
        }
        let rows = rows_of(tables, column, own, &id)?;
        // Up: whatever the rows refer to.
        for (above, (column, ..)) in KINDS.iter().enumerate().skip(at + 1) {
            let named = rows.iter().filter_map(|row| row.values.get(*column)?.as_str());
            todo.extend(named.map(|id| (above, id.to_owned())));
        }
        if at == kind {
            for (below, ids) in below(tables, kind, &id)? {
                let Some((_, name, _)) = KINDS.get(below) else { continue };
                // Of a candidate there is one quadruplet, or a few: they are part of its story.
                if kind == CANDIDATE {
                    todo.extend(ids.into_iter().map(|id| (below, id)));
                } else {
                    let n = ids.len() as u64;
                    made_of_it.insert(*name, Below { n, ids: ids.into_iter().take(NAMED).collect() });
                }
            }
        }
        let quarantine = books.quarantine.iter().filter(|entry| entry.row.row_id == id).cloned().collect();
        links.entry(at).or_default().push(Link { kind: name, id, rows, quarantine });
    }
    let kind = KINDS.get(kind).map_or("", |(_, name, _)| name);
    // From the reference on.
    let chain: Vec<Link> = links.into_values().rev().flatten().collect();
    let attempts = attempts(books, tables, &chain);
    Ok(Trace { id, kind, chain, made_of_it, attempts, releases: Vec::new() })
}

/// All rows that bear the id: those of its own table first.
fn rows_of(tables: &[NodeTable<'_>], column: &str, own: &str, id: &str) -> Result<Vec<Row>, TraceError> {
    let mut rows = Vec::new();
    let first = |part: &NodeTable<'_>| part.columns.get_at_index(0).is_some_and(|(name, _)| name == column);
    for part in tables.iter().filter(|part| first(part) && !part.shards.is_empty()) {
        let found = collect(part.rows()?.select([col(column), col(ROW_NUMBER)]).filter(col(column).eq(lit(id))))?;
        let numbers = found.column(ROW_NUMBER)?.cast(&DataType::UInt64)?;
        for number in numbers.u64()?.iter().flatten() {
            let Some((shard, row)) = part.place(number) else { continue };
            rows.push(Row {
                table: part.table.clone(),
                node: part.node.clone(),
                shard_index: shard.shard_index,
                row,
                path: shard.path.clone(),
                digest: shard.digest.to_hex(),
                values: values(&part.row(number, None)?)?,
                shard_id: shard.shard_id,
            });
        }
    }
    // The order of tables is that of their names; it stays so behind the row itself.
    rows.sort_by_key(|row| row.table != own);
    Ok(rows)
}

/// All that is made of an id of [`KINDS`] at `kind`, directly or by way of others: what it is → ids.
fn below(tables: &[NodeTable<'_>], kind: usize, id: &str) -> Result<BTreeMap<usize, BTreeSet<String>>, TraceError> {
    let mut known = BTreeMap::from([(kind, BTreeSet::from([id.to_owned()]))]);
    for (below, (_, _, table)) in KINDS.iter().enumerate().take(kind).rev() {
        let mut found = BTreeSet::new();
        for (above, ids) in &known {
            let Some((column, _, _)) = KINDS.get(*above) else { continue };
            found.extend(referring(tables, table, column, ids)?);
        }
        if !found.is_empty() {
            known.insert(below, found);
        }
    }
    known.remove(&kind);
    Ok(known)
}

/// Ids of the rows of `table` that refer to one of `ids` by `column`.
fn referring(
    tables: &[NodeTable<'_>],
    table: &str,
    column: &str,
    ids: &BTreeSet<String>,
) -> Result<BTreeSet<String>, TraceError> {
    let mut found = BTreeSet::new();
    let wanted = df!(column => ids.iter().map(String::as_str).collect::<Vec<_>>())?.lazy();
    for part in tables.iter().filter(|part| part.table == table && part.columns.contains(column)) {
        let Some((own, _)) = part.columns.get_at_index(0).filter(|(own, _)| *own != column) else { continue };
        let named: Vec<Expr> = [own.as_str(), column].map(col).into();
        let rows = part.rows()?.select(named).join(
            wanted.clone(),
            [col(column)],
            [col(column)],
            JoinArgs::new(JoinType::Semi),
        );
        found.extend(collect(rows)?.column(own)?.str()?.iter().flatten().map(ToOwned::to_owned));
    }
    Ok(found)
}

fn values(row: &DataFrame) -> Result<Map<String, Value>, TraceError> {
    let value = |column: &Column| Ok((column.name().to_string(), told(&column.get(0)?)));
    row.columns().iter().map(value).collect()
}

/// A value as JSON; bytes as their size and digest.
fn told(value: &AnyValue<'_>) -> Value {
    let bytes = |bytes: &[u8]| json!({ "n_bytes": bytes.len(), "digest": blake3::hash(bytes).to_hex().to_string() });
    match value {
        AnyValue::Binary(found) => bytes(found),
        AnyValue::BinaryOwned(found) => bytes(found),
        AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
            let told: Map<String, Value> =
                value_fields(value).into_iter().map(|(name, value)| (name.to_owned(), told(&value))).collect();
            Value::Object(told)
        }
        other => value_json(other),
    }
}

/// The attempts at the shards of the chain's rows, each shard once, in the chain's order.
fn attempts(books: &Books, tables: &[NodeTable<'_>], chain: &[Link]) -> Vec<Attempt> {
    let mut seen = BTreeSet::new();
    let mut attempts = Vec::new();
    for row in chain.iter().flat_map(|link| &link.rows).filter(|row| seen.insert(row.shard_id)) {
        let shards = tables.iter().filter(|part| part.table == row.table).flat_map(|part| &part.shards);
        let n_rows = shards.filter(|shard| shard.shard_id == row.shard_id).map(|shard| shard.n_rows).sum::<u64>();
        attempts.extend(books.ledger.iter().filter(|entry| entry.shard_id == row.shard_id).map(|entry| Attempt {
            entry: entry.clone(),
            n_rows,
            wall_ms_per_row: entry.wall_ms as f64 / n_rows.max(1) as f64,
        }));
    }
    attempts
}
