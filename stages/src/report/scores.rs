//! How scores are distributed, and where the thresholds cut them.

use std::collections::BTreeSet;

use polars::prelude::*;
use serde::Serialize;

use super::chart::{Axis, Tick, rounded};
use super::tables::{LEVELS, Tables, numbers};
use super::{ReportError, figure};
use crate::filter::{Bound, bound};
use crate::tables::id_column;

/// Bars of a histogram.
const N_BINS: usize = 40;
/// Charts of one table: a scorer may write dozens of columns.
const MAX_CHARTS: usize = 12;
/// Points of a scatter.
const MAX_POINTS: usize = 2000;

/// The scored rows of a table, with what was decided of them.
pub(super) struct Judged {
    pub(super) table: &'static str,
    pub(super) id: &'static str,
    /// `id`, scores as `Float64`, `accepted` and `reason`.
    pub(super) rows: DataFrame,
    /// Names of scores; those that have bounds first.
    pub(super) names: Vec<String>,
    pub(super) bounds: Vec<Bound>,
}

/// All tables that have scores, the last made first.
pub(super) fn judged(tables: &Tables<'_>) -> Result<Vec<Judged>, ReportError> {
    let mut all = Vec::new();
    for table in LEVELS {
        let Some(id) = id_column(table) else { continue };
        let Some(scores) = tables.scores(id)?.filter(|scores| scores.height() > 0) else { continue };
        let rules = tables.filters.iter().filter(|filter| filter.table == table).flat_map(|filter| &filter.rules);
        let bounds: Vec<Bound> = rules.filter_map(|rule| bound(rule)).collect();
        let is_bound = |name: &str| bounds.iter().position(|bound| bound.column == name);
        let mut names: Vec<String> =
            scores.get_column_names().into_iter().filter(|name| *name != id).map(ToString::to_string).collect();
        names.sort_by_key(|name| is_bound(name).unwrap_or(usize::MAX));
        let rows = match tables.verdicts(id)? {
            Some(verdicts) => scores.left_join(&verdicts, [id], [id])?,
            None => {
                let n = scores.height();
                let empty = [("accepted", DataType::Boolean), ("reason", DataType::String)];
                let mut rows = scores;
                for (name, dtype) in empty {
                    rows.with_column(Column::full_null(name.into(), n, &dtype))?;
                }
                rows
            }
        };
        all.push(Judged { table, id, rows, names, bounds });
    }
    Ok(all)
}

/// The charts of one table.
#[derive(Debug, Serialize)]
pub(super) struct Scores {
    table: &'static str,
    n_rows: usize,
    histograms: Vec<Histogram>,
    /// Scores that have no chart here.
    left_out: Vec<String>,
    scatter: Option<Scatter>,
}

#[derive(Debug, Serialize)]
struct Histogram {
    score: String,
    n_missing: usize,
    min: f64,
    mean: f64,
    max: f64,
    /// Thresholds.
    bounds: Vec<Line>,
    bins: Vec<Bin>,
    plot: HistogramPlot,
}

#[derive(Debug, Default, Serialize)]
struct Bin {
    from: f64,
    to: f64,
    n_accepted: u64,
    n_rejected: u64,
    n_undecided: u64,
}

#[derive(Debug, Serialize)]
struct HistogramPlot {
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
struct Bar {
    verdict: &'static str,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A threshold.
#[derive(Clone, Debug, Serialize)]
struct Line {
    label: String,
    at: f64,
}

/// Two scores of each row.
#[derive(Debug, Serialize)]
struct Scatter {
    x: String,
    y: String,
    n_points: usize,
    /// Rows that have both scores; more than points where a sample is shown.
    n_rows: usize,
    plot: ScatterPlot,
}

#[derive(Debug, Serialize)]
struct ScatterPlot {
    /// A path of dots by verdict.
    dots: Vec<(&'static str, String)>,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    x_lines: Vec<Line>,
    y_lines: Vec<Line>,
}

impl Scores {
    pub(super) fn new(judged: &Judged) -> Result<Self, ReportError> {
        let charted = judged.names.iter().take(MAX_CHARTS);
        Ok(Self {
            table: judged.table,
            n_rows: judged.rows.height(),
            histograms: charted.map(|name| histogram(judged, name)).collect::<Result<_, _>>()?,
            left_out: judged.names.iter().skip(MAX_CHARTS).cloned().collect(),
            scatter: scatter(judged)?,
        })
    }
}

/// `accepted`, `rejected`, or `undecided` where no filter has spoken.
pub(super) fn verdict(accepted: Option<bool>) -> &'static str {
    match accepted {
        Some(true) => "accepted",
        Some(false) => "rejected",
        None => "undecided",
    }
}

/// The thresholds of a score, laid out on its axis.
fn lines(judged: &Judged, name: &str, axis: &Axis) -> Vec<Line> {
    let of_name = judged.bounds.iter().filter(|bound| bound.column == name);
    let sides = of_name.flat_map(|bound| {
        let min = bound.min.map(|min| (format!("≥ {}", figure(min)), min));
        min.into_iter().chain(bound.max.map(|max| (format!("≤ {}", figure(max)), max)))
    });
    sides.map(|(label, value)| Line { label, at: axis.at(value) }).collect()
}

/// The values of a score, and its thresholds, so that these are seen also where no row reaches them.
fn extent<'v>(judged: &'v Judged, name: &'v str, values: &'v Float64Chunked) -> impl Iterator<Item = f64> + 'v {
    let bounds = judged.bounds.iter().filter(move |bound| bound.column == name);
    values
        .iter()
        .flatten()
        .filter(|value| value.is_finite())
        .chain(bounds.flat_map(|bound| bound.min.into_iter().chain(bound.max)))
}

fn histogram(judged: &Judged, name: &str) -> Result<Histogram, ReportError> {
    const LEFT: f64 = 8.0;
    const RIGHT: f64 = 312.0;
    const TOP: f64 = 22.0;
    const BOTTOM: f64 = 118.0;
    let values = numbers(&judged.rows, name)?;
    let accepted = judged.rows.column("accepted")?.bool()?;
    let axis = Axis::over(extent(judged, name, values), LEFT, RIGHT);
    let ends = axis.parts(N_BINS);
    let mut bins: Vec<Bin> = ends
        .windows(2)
        .filter_map(|ends| match ends {
            [from, to] => Some(Bin { from: *from, to: *to, ..Bin::default() }),
            _ => None,
        })
        .collect();
    let (mut n, mut sum, mut min, mut max) = (0_usize, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for (value, accepted) in values.iter().zip(accepted.iter()) {
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        (n, sum, min, max) = (n + 1, sum + value, min.min(value), max.max(value));
        let Some(bin) = bins.get_mut(axis.part(value, N_BINS)) else { continue };
        match accepted {
            Some(true) => bin.n_accepted += 1,
            Some(false) => bin.n_rejected += 1,
            None => bin.n_undecided += 1,
        }
    }
    let highest = bins.iter().map(|bin| bin.n_accepted + bin.n_rejected + bin.n_undecided).max().unwrap_or(0).max(1);
    let mut bars = Vec::new();
    for bin in &bins {
        let (x, end) = (axis.at(bin.from), axis.at(bin.to));
        let mut y = BOTTOM;
        let parts = [("accepted", bin.n_accepted), ("rejected", bin.n_rejected), ("undecided", bin.n_undecided)];
        for (verdict, n) in parts.into_iter().filter(|(_, n)| *n > 0) {
            let height = rounded((BOTTOM - TOP) * n as f64 / highest as f64).max(0.4);
            y = rounded(y - height);
            bars.push(Bar { verdict, x, y, width: rounded((end - x - 0.8).max(0.4)), height });
        }
    }
    // Nothing finite: there is no least value either.
    let (min, max) = if n == 0 { (0.0, 0.0) } else { (min, max) };
    Ok(Histogram {
        score: name.to_owned(),
        n_missing: values.len() - n,
        min,
        mean: sum / n.max(1) as f64,
        max,
        bounds: lines(judged, name, &axis),
        bins,
        plot: HistogramPlot { bars, ticks: axis.ticks() },
    })
}

/// CLIP against DINO, as in the paper; where there are no such scores, the first two that have thresholds.
fn scatter(judged: &Judged) -> Result<Option<Scatter>, ReportError> {
    const LEFT: f64 = 44.0;
    const RIGHT: f64 = 410.0;
    const TOP: f64 = 12.0;
    const BOTTOM: f64 = 290.0;
    let has = |name: &str| judged.names.iter().any(|known| known == name);
    let (x, y) = if has("clip") && has("dino") {
        ("clip".to_owned(), "dino".to_owned())
    } else {
        let bound: BTreeSet<&str> = judged.bounds.iter().map(|bound| bound.column.as_str()).collect();
        let mut bound = judged.names.iter().filter(|name| bound.contains(name.as_str()));
        match (bound.next(), bound.next()) {
            (Some(x), Some(y)) => (x.clone(), y.clone()),
            _ => return Ok(None),
        }
    };
    let (x_values, y_values) = (numbers(&judged.rows, &x)?, numbers(&judged.rows, &y)?);
    let x_axis = Axis::over(extent(judged, &x, x_values), LEFT, RIGHT);
    let y_axis = Axis::over(extent(judged, &y, y_values), BOTTOM, TOP);
    let accepted = judged.rows.column("accepted")?.bool()?;
    let ids = judged.rows.column(judged.id)?.str()?;
    let mut points: Vec<([u8; 8], &str, f64, f64)> = Vec::new();
    for (((id, accepted), x), y) in ids.iter().zip(accepted.iter()).zip(x_values.iter()).zip(y_values.iter()) {
        let (Some(x), Some(y)) = (x.filter(|x| x.is_finite()), y.filter(|y| y.is_finite())) else { continue };
        points.push((order(id.unwrap_or_default()), verdict(accepted), x_axis.at(x), y_axis.at(y)));
    }
    if points.is_empty() {
        return Ok(None);
    }
    let n_rows = points.len();
    // A sample that the same rows always give, whatever their order.
    points.sort_unstable_by_key(|(order, ..)| *order);
    points.truncate(MAX_POINTS);
    let dots = ["undecided", "rejected", "accepted"].map(|wanted| {
        let of_verdict = points.iter().filter(|(_, verdict, ..)| *verdict == wanted);
        // A line of no length with round ends is a dot, and the shortest way to write one.
        (wanted, of_verdict.map(|(_, _, x, y)| format!("M{x} {y}h0")).collect::<String>())
    });
    let plot = ScatterPlot {
        dots: dots.into_iter().filter(|(_, path)| !path.is_empty()).collect(),
        x_ticks: x_axis.ticks(),
        y_ticks: y_axis.ticks(),
        x_lines: lines(judged, &x, &x_axis),
        y_lines: lines(judged, &y, &y_axis),
    };
    Ok(Some(Scatter { x, y, n_points: points.len(), n_rows, plot }))
}

/// A place for a row in a sample, as good as drawn by lot.
fn order(id: &str) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(blake3::hash(id.as_bytes()).as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
    first
}
