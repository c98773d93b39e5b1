//! How much is kept, and what a kept unit takes to make: by class, family of instructions, mixing weight, generator.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::tables::{NODE, Tables, Units};
use super::{Facts, ReportError};
use cafe_pipeline::query::{NodeTable, ROW_NUMBER, value_text};

/// Groups shown of one column; the rest is summed up.
const MAX_GROUPS: usize = 24;

/// All groupings.
#[derive(Debug, Serialize)]
pub(super) struct Yields {
    /// What the units are.
    table: &'static str,
    /// Whether a filter judges them; else all are kept.
    is_judged: bool,
    total: Group,
    by: Vec<Grouping>,
}

/// Units by the values of a column.
#[derive(Debug, Serialize)]
struct Grouping {
    column: &'static str,
    /// The most frequent first, numbers in their order.
    groups: Vec<Group>,
    /// The sum of those not shown, and how many these are.
    others: Option<(usize, Group)>,
}

/// What became of some units.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Group {
    value: String,
    pub(super) n: u64,
    pub(super) n_kept: u64,
    pub(super) n_undecided: u64,
    /// Of those decided; `None` while none is.
    pub(super) kept_share: Option<f64>,
    /// Wall time of the stage that makes the units: each takes an equal part of all attempts at its shard.
    wall_secs: f64,
    /// The same, on a device.
    pub(super) device_secs: f64,
    wall_secs_per_kept: Option<f64>,
    pub(super) device_secs_per_kept: Option<f64>,
}

impl Group {
    /// One more unit, which took so long.
    pub(super) fn add(&mut self, accepted: Option<bool>, is_judged: bool, seconds: (f64, f64)) {
        self.n += 1;
        match accepted {
            Some(true) => self.n_kept += 1,
            None if is_judged => self.n_undecided += 1,
            None => self.n_kept += 1,
            Some(false) => {}
        }
        self.wall_secs += seconds.0;
        self.device_secs += seconds.1;
    }

    /// The units of both.
    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.n_kept += other.n_kept;
        self.n_undecided += other.n_undecided;
        self.wall_secs += other.wall_secs;
        self.device_secs += other.device_secs;
    }

    /// With its shares.
    pub(super) fn finished(mut self, value: String) -> Self {
        let n_decided = self.n - self.n_undecided;
        self.value = value;
        self.kept_share = (n_decided > 0).then(|| self.n_kept as f64 / n_decided as f64);
        let per_kept = |secs: f64| (self.n_kept > 0 && secs > 0.0).then(|| secs / self.n_kept as f64);
        self.wall_secs_per_kept = per_kept(self.wall_secs);
        self.device_secs_per_kept = per_kept(self.device_secs);
        self
    }
}

/// Sums up the units; `None` where there are none.
pub(super) fn yields(facts: &Facts, tables: &Tables<'_>, units: &Units) -> Result<Option<Yields>, ReportError> {
    if units.rows.height() == 0 {
        return Ok(None);
    }
    let seconds = Seconds::new(facts, tables, units)?;
    let accepted = units.rows.column("accepted")?.bool()?;
    let mut total = Group::default();
    for (row, accepted) in accepted.iter().enumerate() {
        total.add(accepted, units.is_judged, seconds.of(row));
    }
    let mut by = Vec::new();
    for column in ["class", "family", "alpha", "generator"] {
        let values = units.rows.column(column)?;
        if values.null_count() == values.len() {
            continue;
        }
        let mut groups: HashMap<String, Group> = HashMap::new();
        for (row, (value, accepted)) in values.as_materialized_series().iter().zip(accepted.iter()).enumerate() {
            let value = value_text(&value).unwrap_or_else(|| "(none)".to_owned());
            groups.entry(value).or_default().add(accepted, units.is_judged, seconds.of(row));
        }
        by.push(grouping(column, groups));
    }
    let total = total.finished("all".to_owned());
    Ok(Some(Yields { table: units.table, is_judged: units.is_judged, total, by }))
}

fn grouping(column: &'static str, groups: HashMap<String, Group>) -> Grouping {
    let mut groups: Vec<Group> =
        groups.into_iter().map(|(value, group)| group.finished(super::shown(&value))).collect();
    groups.sort_by(|one, other| other.n.cmp(&one.n).then_with(|| one.value.cmp(&other.value)));
    let rest = groups.split_off(groups.len().min(MAX_GROUPS));
    let others = (!rest.is_empty()).then(|| {
        let mut sum = Group::default();
        rest.iter().for_each(|group| sum.merge(group));
        (rest.len(), sum.finished("others".to_owned()))
    });
    if column == "alpha" {
        let number = |group: &Group| group.value.parse::<f64>().unwrap_or(f64::INFINITY);
        groups.sort_by(|one, other| number(one).total_cmp(&number(other)));
    }
    Grouping { column, groups, others }
}

/// What a unit took to make: an equal part of what its shard took, in all attempts.
pub(super) struct Seconds<'u> {
    nodes: &'u polars::prelude::UInt32Chunked,
    rows: Vec<u64>,
    /// Per node: upper bounds of row numbers, with wall and device seconds per row.
    shards: Vec<Vec<(u64, f64, f64)>>,
}

impl<'u> Seconds<'u> {
    pub(super) fn new(facts: &Facts, tables: &Tables<'_>, units: &'u Units) -> Result<Self, ReportError> {
        let mut spent: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for entry in &facts.ledger {
            let spent = spent.entry(entry.shard_id).or_default();
            spent.0 += entry.wall_ms;
            spent.1 += entry.cost.device_ms;
        }
        let shards_of = |part: &NodeTable<'_>| {
            let mut end = 0;
            let shards = part.shards.iter().map(|shard| {
                end += shard.n_rows;
                let (wall_ms, device_ms) = spent.get(&shard.shard_id).copied().unwrap_or_default();
                let per_row = |ms: u64| ms as f64 / 1000.0 / shard.n_rows.max(1) as f64;
                (end, per_row(wall_ms), per_row(device_ms))
            });
            shards.collect()
        };
        let numbers = units.rows.column(ROW_NUMBER)?.cast(&polars::prelude::DataType::UInt64)?;
        Ok(Self {
            nodes: units.rows.column(NODE)?.u32()?,
            rows: numbers.u64()?.iter().map(Option::unwrap_or_default).collect(),
            shards: tables.of(units.table).map(shards_of).collect(),
        })
    }

    /// Wall and device seconds of a row.
    pub(super) fn of(&self, row: usize) -> (f64, f64) {
        let shards = self.nodes.get(row).and_then(|node| self.shards.get(node as usize));
        let found = shards.zip(self.rows.get(row)).and_then(|(shards, row)| {
            let at = shards.partition_point(|(end, ..)| end <= row);
            shards.get(at)
        });
        found.map_or((0.0, 0.0), |(_, wall, device)| (*wall, *device))
    }
}
