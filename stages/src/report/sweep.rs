//! The same pair with growing mixing weight, as in the paper's Figure 5: x, w, and x~ for each α.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::lookup::{self, Picture, Row};
use super::scores::verdict;
use super::tables::{Tables, Units, text};
use super::{ReportError, figure, shown};
use crate::tables::{CANDIDATES, PAIRS, REFERENCES};

/// The table of the pictures w.
pub(super) const DONORS: &str = "donors";
/// Rows of the grid.
const MAX_ROWS: usize = 6;
/// Columns of the grid, x and w not counted.
const MAX_ALPHAS: usize = 8;

/// The grid.
#[derive(Debug, Serialize)]
pub(super) struct Sweep {
    /// The mixing weights, least first.
    alphas: Vec<String>,
    has_donors: bool,
    rows: Vec<SweepRow>,
    /// Pairs that have several α, of which the grid shows some.
    n_pairs: usize,
}

/// A pair.
#[derive(Debug, Serialize)]
struct SweepRow {
    reference_id: String,
    instruction: String,
    reference: Picture,
    donor: Option<Picture>,
    /// One for each α; `None` where none was made.
    cells: Vec<Option<Cell>>,
}

/// A candidate.
#[derive(Debug, Serialize)]
struct Cell {
    candidate_id: String,
    verdict: &'static str,
    picture: Picture,
}

/// Pair, w and number of the sample: what is the same in a row of the grid.
type Key = (String, String, u64);

/// Lays out the grid; `None` where no pair has two α.
pub(super) fn sweep(tables: &Tables<'_>, units: &Units) -> Result<Option<Sweep>, ReportError> {
    if units.table != CANDIDATES {
        return Ok(None);
    }
    let groups = groups(units)?;
    let n_pairs = groups.len();
    let chosen = choose(groups, units);
    if chosen.is_empty() {
        return Ok(None);
    }
    let alphas = spread(&chosen);
    let all = || chosen.iter().flat_map(|(_, made)| made.iter().map(|(_, at)| *at));
    let ids = |column: &str| -> BTreeSet<String> { all().filter_map(|at| text(&units.rows, column, at)).collect() };
    let references = lookup::rows(tables, REFERENCES, "reference_id", &ids("reference_id"), &["class"])?;
    let pairs = lookup::rows(tables, PAIRS, "pair_id", &ids("pair_id"), &["instruction", "caption"])?;
    let donors = lookup::rows(tables, DONORS, "w_id", &ids("w_id"), &[])?;
    let candidates = lookup::rows(tables, CANDIDATES, "candidate_id", &ids("id"), &[])?;
    let accepted = units.rows.column("accepted")?.bool()?;
    let mut rows = Vec::new();
    for ((pair_id, w_id, _), made) in &chosen {
        let Some((_, first)) = made.first() else { continue };
        let reference_id = text(&units.rows, "reference_id", *first).unwrap_or_default();
        let reference = references.get(&reference_id).cloned().unwrap_or_default();
        let pair = pairs.get(pair_id).cloned().unwrap_or_default();
        let said = pair.get("instruction").or(pair.get("caption")).unwrap_or_default();
        let picture = |table, row: &Row, role, alt| lookup::picture(tables, table, row, role, alt);
        let cells = alphas.iter().map(|alpha| {
            let (_, at) = made.iter().find(|(made, _)| made == alpha)?;
            let candidate_id = text(&units.rows, "id", *at)?;
            let alt = format!("x~ for α = {}", figure(*alpha));
            let picture = picture(CANDIDATES, candidates.get(&candidate_id)?, "x~", alt);
            Some(Cell { verdict: verdict(accepted.get(*at)), candidate_id, picture })
        });
        rows.push(SweepRow {
            cells: cells.collect(),
            donor: donors.get(w_id).map(|row| picture(DONORS, row, "w", "w, the picture that is mixed in".to_owned())),
            reference: picture(REFERENCES, &reference, "x", format!("x, reference {reference_id}")),
            instruction: shown(said),
            reference_id,
        });
    }
    let has_donors = rows.iter().any(|row| row.donor.is_some());
    Ok(Some(Sweep { alphas: alphas.into_iter().map(figure).collect(), has_donors, rows, n_pairs }))
}

/// The units that have several α, with their rows by α.
fn groups(units: &Units) -> Result<BTreeMap<Key, Vec<(f64, usize)>>, ReportError> {
    let alphas = units.rows.column("alpha")?.f64()?;
    let (pairs, donors) = (units.rows.column("pair_id")?.str()?, units.rows.column("w_id")?.str()?);
    let samples = units.rows.column("sample_index")?.u32()?;
    let mut groups: BTreeMap<Key, Vec<(f64, usize)>> = BTreeMap::new();
    for (at, alpha) in alphas.iter().enumerate() {
        let (Some(alpha), Some(pair)) = (alpha.filter(|alpha| alpha.is_finite()), pairs.get(at)) else { continue };
        let key = (pair.to_owned(), donors.get(at).unwrap_or_default().to_owned(), samples.get(at).unwrap_or(0).into());
        groups.entry(key).or_default().push((alpha, at));
    }
    for made in groups.values_mut() {
        made.sort_by(|one, other| one.0.total_cmp(&other.0));
        made.dedup_by(|one, other| one.0 == other.0);
    }
    groups.retain(|_, made| made.len() > 1);
    Ok(groups)
}

/// Those with the most α, each of another reference while there are such.
fn choose(groups: BTreeMap<Key, Vec<(f64, usize)>>, units: &Units) -> Vec<(Key, Vec<(f64, usize)>)> {
    let mut groups: Vec<(Key, Vec<(f64, usize)>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, made)| std::cmp::Reverse(made.len()));
    let mut seen = BTreeSet::new();
    let reference = |made: &[(f64, usize)]| made.first().and_then(|(_, at)| text(&units.rows, "reference_id", *at));
    let (mut first, again): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(_, made)| seen.insert(reference(made)));
    first.extend(again);
    first.truncate(MAX_ROWS);
    first
}

/// The α of the rows chosen; of too many some, evenly apart, the least and the greatest among them.
fn spread(chosen: &[(Key, Vec<(f64, usize)>)]) -> Vec<f64> {
    let mut alphas: Vec<f64> = chosen.iter().flat_map(|(_, made)| made.iter().map(|(alpha, _)| *alpha)).collect();
    alphas.sort_by(f64::total_cmp);
    alphas.dedup();
    if alphas.len() <= MAX_ALPHAS {
        return alphas;
    }
    let last = alphas.len() - 1;
    (0..MAX_ALPHAS).filter_map(|at| alphas.get(at * last / (MAX_ALPHAS - 1)).copied()).collect()
}
