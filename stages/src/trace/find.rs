//! From what a person typed to an id that there is.

use std::collections::BTreeSet;

use cafe_pipeline::catalog::QuarantineEntry;
use cafe_pipeline::query::{NodeTable, collect};
use cafe_pipeline::text::listed;
use polars::prelude::*;
use strsim::damerau_levenshtein;

use super::{KINDS, TraceError};

/// Fewer signs are no beginning of an id, but a mistake.
const LEAST_PREFIX: usize = 4;
/// Ids named in an error.
const NAMED: usize = 5;

/// Which of [`KINDS`] the id is, and the id in full.
pub(super) fn find(
    tables: &[NodeTable<'_>],
    quarantine: &[QuarantineEntry],
    wanted: &str,
) -> Result<(usize, String), TraceError> {
    let wanted = wanted.trim();
    let mut near: BTreeSet<(usize, usize, String)> = BTreeSet::new();
    let mut beginnings: BTreeSet<(usize, String)> = BTreeSet::new();
    for (kind, (column, _, _)) in KINDS.iter().enumerate() {
        // Any table may name an id first: candidates that were quarantined have none of their own.
        for part in tables.iter().filter(|part| part.columns.get_at_index(0).is_some_and(|(name, _)| name == column)) {
            let rows = collect(part.rows()?.select([col(*column)]))?;
            for id in rows.column(column)?.str()?.iter().flatten() {
                if id == wanted {
                    return Ok((kind, id.to_owned()));
                }
                if wanted.len() >= LEAST_PREFIX && id.starts_with(wanted) {
                    beginnings.insert((kind, id.to_owned()));
                } else if let Some(distance) = distance(wanted, id) {
                    near.insert((distance, kind, id.to_owned()));
                    if near.len() > NAMED {
                        near.pop_last();
                    }
                }
            }
        }
    }
    if beginnings.is_empty()
        && let Some(kind) = referred_to(tables, wanted)?
    {
        return Ok((kind, wanted.to_owned()));
    }
    let ids = |ids: Vec<&String>| listed(ids.into_iter().map(String::as_str), NAMED);
    match beginnings.len() {
        0 => {
            let near: Vec<&String> = near.iter().map(|(_, _, id)| id).collect();
            let hint = if let Some(entry) = quarantine.iter().find(|entry| entry.row.row_id == wanted) {
                format!("; {} put it into quarantine ({}): {}", entry.node, entry.row.class, entry.row.message)
            } else if near.is_empty() {
                "; `query \"SELECT * FROM candidates LIMIT 5\"` shows some that there are".to_owned()
            } else {
                format!("; near are {}", ids(near))
            };
            Err(TraceError::Unknown { id: wanted.to_owned(), hint })
        }
        1 => beginnings.pop_first().ok_or_else(|| TraceError::Unknown { id: wanted.to_owned(), hint: String::new() }),
        n => {
            let all = ids(beginnings.iter().map(|(_, id)| id).collect());
            Err(TraceError::Ambiguous { id: wanted.to_owned(), n, ids: all })
        }
    }
}

/// What `wanted` is, where other rows refer to it and it has no row itself: a w that was not kept, for example.
fn referred_to(tables: &[NodeTable<'_>], wanted: &str) -> Result<Option<usize>, TraceError> {
    for (kind, (column, _, _)) in KINDS.iter().enumerate() {
        for part in tables.iter().filter(|part| part.columns.contains(column) && !part.shards.is_empty()) {
            let rows = part.rows()?.select([col(*column)]).filter(col(*column).eq(lit(wanted))).limit(1);
            if collect(rows)?.height() > 0 {
                return Ok(Some(kind));
            }
        }
    }
    Ok(None)
}

/// How far apart, where that is near: a slip or two, or some signs too many at the end.
fn distance(wanted: &str, id: &str) -> Option<usize> {
    const SLIPS: usize = 3;
    if id.len() >= LEAST_PREFIX && wanted.starts_with(id) {
        return Some(wanted.len() - id.len());
    }
    // Two ids agree by chance in none of their first and last signs: what shares neither is not compared in full.
    let shares_an_end = wanted.get(..2) == id.get(..2)
        || wanted.len().checked_sub(2).and_then(|at| wanted.get(at..))
            == id.len().checked_sub(2).and_then(|at| id.get(at..));
    if !shares_an_end || wanted.len().abs_diff(id.len()) > SLIPS {
        return None;
    }
    Some(damerau_levenshtein(wanted, id)).filter(|distance| *distance <= SLIPS)
}
