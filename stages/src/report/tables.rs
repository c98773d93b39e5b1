//! The project's tables as the sections of the report want them: stacked over nodes, joined by ids, judged.

use cafe_pipeline::query::{NodeTable, ROW_NUMBER, collect};
use polars::prelude::*;
use serde_json::Value;

use super::{Facts, ReportError};
use crate::tables::{CANDIDATES, PAIRS, REFERENCES, SCORES, VERDICTS, id_column};

/// The tables whose rows are scored and judged, the last made first.
pub(super) const LEVELS: [&str; 3] = [CANDIDATES, PAIRS, REFERENCES];

/// The column of [`Units`] with the position of the row's node among those of its table.
pub(super) const NODE: &str = "_node";

/// A filter of the plan that was run.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) node: String,
    /// The table that it judges.
    pub(super) table: String,
    /// Its rules as text, in order.
    pub(super) rules: Vec<String>,
}

/// All tables.
pub(super) struct Tables<'a> {
    all: Vec<NodeTable<'a>>,
    pub(super) filters: Vec<Filter>,
}

/// The rows of the last table of the chain that there is, with what they refer to.
pub(super) struct Units {
    /// `candidates`, or `pairs`, or `references`.
    pub(super) table: &'static str,
    /// `id`, `pair_id`, `reference_id`, `class`, `family`, `generator`, `alpha`, `w_id`, `sample_index`, `round`,
    /// [`NODE`], [`ROW_NUMBER`], `accepted` (null: not judged yet); nulls where the table has no such column.
    pub(super) rows: DataFrame,
    /// Whether there is a filter at all.
    pub(super) is_judged: bool,
}

impl<'a> Tables<'a> {
    pub(super) fn new(facts: &'a Facts) -> Result<Self, ReportError> {
        let nodes = facts.plan.nodes.as_array().map(Vec::as_slice).unwrap_or_default();
        let filter = |node: &Value| {
            let settings = node.get("fields")?.get("settings")?;
            // The choice of the best stands last: it is among those that pass the rules.
            let rules = settings.get("rules")?.as_array()?.iter().chain(settings.get("select"));
            Some(Filter {
                node: node.get("name")?.as_str()?.to_owned(),
                table: settings.get("reads")?.as_str()?.to_owned(),
                rules: rules.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            })
        };
        let is_filter = |node: &&Value| node.get("kind").and_then(Value::as_str) == Some("filter");
        let filters = nodes.iter().filter(is_filter).filter_map(filter).collect();
        Ok(Self { all: facts.source.node_tables()?, filters })
    }

    /// The nodes' parts of a table.
    pub(super) fn of<'s>(&'s self, table: &'s str) -> impl Iterator<Item = &'s NodeTable<'a>> {
        self.all.iter().filter(move |part| part.table == table)
    }

    pub(super) fn has(&self, table: &str) -> bool {
        self.of(table).next().is_some()
    }

    pub(super) fn n_rows(&self, table: &str) -> u64 {
        self.of(table).flat_map(|part| &part.shards).map(|shard| shard.n_rows).sum()
    }

    /// `columns` of all rows of a table, with [`NODE`] and [`ROW_NUMBER`]; nulls for columns that a node lacks.
    pub(super) fn stack(&self, table: &str, columns: &[(&str, DataType)]) -> Result<DataFrame, ReportError> {
        let mut stacked: Option<DataFrame> = None;
        for (at, part) in (0_u32..).zip(self.of(table)) {
            let mut wanted: Vec<Expr> = columns
                .iter()
                .map(|(name, dtype)| {
                    let value = if part.columns.contains(name) { col(*name) } else { lit(NULL) };
                    value.cast(dtype.clone()).alias(*name)
                })
                .collect();
            // A literal takes the least type that holds it.
            wanted.extend([lit(at).cast(DataType::UInt32).alias(NODE), col(ROW_NUMBER)]);
            let rows = collect(part.rows()?.select(wanted))?;
            match &mut stacked {
                Some(stacked) => {
                    stacked.vstack_mut(&rows)?;
                }
                None => stacked = Some(rows),
            }
        }
        Ok(stacked.unwrap_or_else(|| {
            // Nothing of it is made yet.
            let own = columns.iter().map(|(name, dtype)| Field::new((*name).into(), dtype.clone()));
            let added = [(NODE, DataType::UInt32), (ROW_NUMBER, IDX_DTYPE)];
            let added = added.map(|(name, dtype)| Field::new(name.into(), dtype));
            DataFrame::empty_with_schema(&Schema::from_iter(own.chain(added)))
        }))
    }

    /// What all filters of the rows with `id` decided: the id, `accepted` (null where one has not judged the row), and the
    /// `reason` of the first that rejected it. `None` without a filter.
    pub(super) fn verdicts(&self, id: &str) -> Result<Option<DataFrame>, ReportError> {
        let mut joined: Option<LazyFrame> = None;
        let (mut accepted, mut reasons) = (lit(true), Vec::new());
        for (at, part) in self.of(VERDICTS).filter(|part| part.columns.contains(id)).enumerate() {
            let names = [format!("_accepted{at}"), format!("_reason{at}")];
            let [is_accepted, reason] = names.each_ref().map(|name| col(name.as_str()));
            // A filter of another branch says nothing of a row, and keeps nothing back.
            accepted = accepted.and(is_accepted.clone().fill_null(lit(true)));
            let named = when(is_accepted.not()).then(coalesce(&[reason, lit("rejected")])).otherwise(lit(NULL));
            reasons.push(named);
            let [is_accepted, reason] = names;
            let rows = part.rows()?.select([col(id), col("accepted").alias(is_accepted), col("reason").alias(reason)]);
            joined = Some(full_join(joined, rows, id));
        }
        let Some(joined) = joined else { return Ok(None) };
        let columns = [col(id), accepted.alias("accepted"), coalesce(&reasons).cast(DataType::String).alias("reason")];
        Ok(Some(collect(joined.select(columns))?))
    }

    /// All numeric scores of the rows with `id`, each a column of `Float64`, not a number as null. `None` where there are
    /// none. A name that two nodes use is followed by the node's.
    pub(super) fn scores(&self, id: &str) -> Result<Option<DataFrame>, ReportError> {
        let mut joined: Option<LazyFrame> = None;
        let mut taken: Vec<String> = Vec::new();
        for part in self.of(SCORES).filter(|part| part.columns.contains(id)) {
            let mut wanted = vec![col(id)];
            let numbers = part.columns.iter().filter(|(_, dtype)| dtype.is_primitive_numeric() || dtype.is_bool());
            for (name, _) in numbers {
                let unique = if taken.iter().any(|taken| taken == name) {
                    format!("{name} ({})", part.node)
                } else {
                    name.to_string()
                };
                let number = col(name.clone()).cast(DataType::Float64).fill_nan(lit(NULL));
                wanted.push(number.alias(unique.as_str()));
                taken.push(unique);
            }
            if wanted.len() > 1 {
                joined = Some(full_join(joined, part.rows()?.select(wanted), id));
            }
        }
        joined.map(|joined| Ok(collect(joined)?)).transpose()
    }

    /// The units of the project: what it makes, as far as it is made.
    pub(super) fn units(&self) -> Result<Units, ReportError> {
        let level = LEVELS.iter().position(|table| self.has(table)).unwrap_or(LEVELS.len() - 1);
        let table = LEVELS.get(level).copied().unwrap_or(REFERENCES);
        let text = DataType::String;
        let own_id = id_column(table).unwrap_or("reference_id");
        let mut columns: Vec<(&str, DataType)> =
            ["pair_id", "reference_id", "class", "family", "generator", "w_id"].map(|name| (name, text.clone())).into();
        columns.extend([("alpha", DataType::Float64), ("sample_index", DataType::UInt32), ("round", DataType::UInt32)]);
        if !columns.iter().any(|(name, _)| *name == own_id) {
            columns.insert(0, (own_id, text));
        }
        let mut rows = self.stack(table, &columns)?.lazy();
        let mut is_judged = false;
        let mut accepted: Option<Expr> = None;
        for (at, upstream) in LEVELS.into_iter().enumerate().skip(level) {
            let Some(id) = id_column(upstream) else { continue };
            if at > level && self.has(upstream) {
                rows = self.filled_from(rows, upstream, id)?;
            }
            if let Some(verdicts) = self.verdicts(id)? {
                is_judged = true;
                let name = format!("_accepted_{upstream}");
                let verdicts = verdicts.lazy().select([col(id), col("accepted").alias(name.as_str())]);
                rows = rows.join(verdicts, [col(id)], [col(id)], JoinArgs::new(JoinType::Left));
                let this = col(name.as_str());
                accepted = Some(accepted.map_or(this.clone(), |before: Expr| before.and(this)));
            }
        }
        let accepted = accepted.unwrap_or_else(|| lit(NULL).cast(DataType::Boolean));
        let mut wanted: Vec<Expr> =
            vec![col(own_id).alias("id"), accepted.alias("accepted"), col(NODE), col(ROW_NUMBER)];
        wanted.extend(columns.iter().map(|(name, _)| col(*name)));
        Ok(Units { table, rows: collect(rows.select(wanted))?, is_judged })
    }

    /// `rows` with what they lack taken from the table that they refer to by `id`.
    fn filled_from(&self, rows: LazyFrame, table: &str, id: &str) -> Result<LazyFrame, ReportError> {
        let names = ["reference_id", "class", "family"];
        let names: Vec<&str> = names.into_iter().filter(|name| *name != id).collect();
        let mut columns: Vec<(&str, DataType)> = vec![(id, DataType::String)];
        columns.extend(names.iter().map(|name| (*name, DataType::String)));
        let mut others = vec![col(id)];
        others.extend(names.iter().map(|name| col(*name).alias(format!("_{name}"))));
        // An id that stands twice upstream must not make two rows of one.
        let others = self
            .stack(table, &columns)?
            .lazy()
            .select(others)
            .unique_stable(Some(cols([id])), UniqueKeepStrategy::First);
        let filled = names.iter().map(|name| coalesce(&[col(*name), col(format!("_{name}"))]).alias(*name));
        let filled: Vec<Expr> = filled.collect();
        let joined = rows.join(others, [col(id)], [col(id)], JoinArgs::new(JoinType::Left));
        Ok(joined.with_columns(filled).drop(cols(names.iter().map(|name| format!("_{name}")))))
    }
}

fn full_join(left: Option<LazyFrame>, right: LazyFrame, id: &str) -> LazyFrame {
    let options = JoinArgs::new(JoinType::Full).with_coalesce(JoinCoalesce::CoalesceColumns);
    match left {
        Some(left) => left.join(right, [col(id)], [col(id)], options),
        None => right,
    }
}

/// A value of a column as text; `None` for a null and for a column that is not there.
pub(super) fn text(rows: &DataFrame, name: &str, at: usize) -> Option<String> {
    let value = rows.column(name).ok()?.get(at).ok()?;
    cafe_pipeline::query::value_text(&value)
}

/// A column of numbers.
pub(super) fn numbers<'r>(rows: &'r DataFrame, name: &str) -> Result<&'r Float64Chunked, ReportError> {
    Ok(rows.column(name)?.f64()?)
}
