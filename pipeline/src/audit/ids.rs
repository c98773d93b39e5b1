//! Ids that stand more than once. Kept as 128 bits each, which is what an id is made of.

use polars::prelude::*;

use crate::digest::Hasher;
use crate::stage::id_text;

/// The ids of one table of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    id: u128,
    shard: i64,
    row: u32,
}

/// Where an id stands first and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) first: (i64, u32),
    pub(super) again: (i64, u32),
}

impl Keys {
    /// Adds the ids of a shard, in the order of its rows.
    pub(super) fn add(&mut self, shard_index: i64, ids: &[u128]) {
        self.0.extend((0..).zip(ids).map(|(row, id)| Key { id: *id, shard: shard_index, row }));
    }

    /// All rows whose id stands before them.
    pub(super) fn duplicates(&self) -> Vec<Duplicate> {
        let mut keys = self.0.clone();
        keys.sort_unstable();
        let pairs = keys.windows(2).filter_map(|pair| match pair {
            [first, again] if first.id == again.id => {
                Some(Duplicate { first: (first.shard, first.row), again: (again.shard, again.row) })
            }
            _ => None,
        });
        let mut duplicates: Vec<Duplicate> = pairs.collect();
        duplicates.sort_unstable_by_key(|duplicate| duplicate.again);
        duplicates
    }
}

/// What tells the rows apart: the first column, when its name ends in `_id`, with the columns behind it that tell rows of one id apart
/// (`slot`, `dialogue_index`, `try`, `reviewer`). Empty for a table without an id.
pub(super) fn keys(rows: &DataFrame) -> Vec<u128> {
    let Some(first) = rows.columns().first().filter(|column| column.name().ends_with("_id")) else { return Vec::new() };
    let counts = |column: &&Column| {
        let name = column.name().as_str();
        let is_number = column.dtype().is_integer();
        name == "reviewer" || is_number && (matches!(name, "slot" | "try") || name.ends_with("_index"))
    };
    let behind = rows.columns().iter().skip(1).take_while(counts);
    let ids = first.as_materialized_series().rechunk();
    let behind: Vec<Series> = behind.map(|column| column.as_materialized_series().rechunk()).collect();
    let mut counters: Vec<_> = behind.iter().map(Series::iter).collect();
    ids.iter()
        .map(|id| {
            let counts = counters.iter_mut().filter_map(Iterator::next).map(|count| count.to_string());
            let count = counts.collect::<Vec<_>>().join(" ");
            let text = id_text(&id);
            match u128::from_str_radix(&text, 16) {
                Ok(id) if text.len() == 32 && count.is_empty() => id,
                _ => {
                    let digest = Hasher::new("audit-id/v1").text("id", &text).text("count", &count).digest();
                    digest.as_bytes().iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart_by_what_counts() {
        let hex = "000102030405060708090a0b0c0d0e0f";
        let rows = df!("pair_id" => [hex, "other", hex], "x" => [1, 2, 3]).unwrap();
        let found = keys(&rows);
        assert_eq!(found[0], 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        assert_eq!((found[0] == found[2], found[0] == found[1]), (true, false));
        let rows = df!("candidate_id" => ["a", "a", "a"], "slot" => [0_u32, 1, 0]).unwrap();
        let found = keys(&rows);
        assert_eq!((found[0] == found[1], found[0] == found[2]), (false, true));
        let rows = df!("candidate_id" => ["a"; 3], "dialogue_index" => [0_u32, 0, 0], "try" => [0_u32, 1, 1]).unwrap();
        let found = keys(&rows);
        assert_eq!((found[0] == found[1], found[1] == found[2]), (false, true));
        let rows = df!("candidate_id" => ["a"; 2], "reviewer" => ["ann", "bob"], "secs" => [1, 1]).unwrap();
        assert_ne!(keys(&rows)[0], keys(&rows)[1]);
        assert!(keys(&df!("path" => ["a", "a"]).unwrap()).is_empty());
    }

    #[test]
    fn duplicates_are_found_across_shards() {
        let mut keys = Keys::default();
        keys.add(0, &[7, 8, 9]);
        keys.add(1, &[1, 8]);
        keys.add(2, &[8]);
        let found = keys.duplicates();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Duplicate { first: (0, 1), again: (1, 1) });
        assert_eq!(found[1].again, (2, 0));
    }
}
