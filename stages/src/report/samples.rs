//! Rows to look at: just accepted, just rejected, the best, the worst.

use std::collections::{BTreeSet, HashMap};

use polars::prelude::Float64Chunked;
use serde::Serialize;

use super::lookup::{self, Picture, Row};
use super::scores::{Judged, verdict};
use super::sweep::DONORS;
use super::tables::{Tables, numbers, text};
use super::{ReportError, figure, shown};
use crate::tables::{CANDIDATES, PAIRS, REFERENCES};

/// Rows of a group.
const SHOWN: usize = 6;

/// The groups.
#[derive(Debug, Serialize)]
pub(super) struct Samples {
    table: &'static str,
    /// What the rows are ordered by, in words.
    order: String,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Group {
    name: &'static str,
    cards: Vec<Card>,
}

/// A row as it is shown.
#[derive(Debug, Serialize)]
struct Card {
    id: String,
    pictures: Vec<Picture>,
    instruction: Option<String>,
    caption: Option<String>,
    /// Class, family, generator and what else tells it apart.
    facts: Vec<(&'static str, String)>,
    scores: Vec<(String, String)>,
    verdict: &'static str,
    reason: Option<String>,
}

/// Chooses rows of the last table made that has scores; `None` where none has.
pub(super) fn samples(tables: &Tables<'_>, judged: &[Judged]) -> Result<Option<Samples>, ReportError> {
    let Some(judged) = judged.first() else { return Ok(None) };
    let margins = margins(judged)?;
    let accepted = judged.rows.column("accepted")?.bool()?;
    let ids = judged.rows.column(judged.id)?.str()?;
    // Equal margins are ordered by id, so that a report does not depend on the order of rows.
    let mut order: Vec<(f64, usize)> =
        margins.iter().enumerate().filter_map(|(at, margin)| Some(((*margin)?, at))).collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| ids.get(one.1).cmp(&ids.get(other.1))));
    let rising = |wanted: Option<bool>| order.iter().map(|(_, at)| *at).filter(move |at| accepted.get(*at) == wanted);
    let (kept, lost) = (rising(Some(true)), rising(Some(false)));
    let mut chosen: Vec<(&'static str, Vec<usize>)> = if accepted.null_count() == accepted.len() {
        vec![
            ("highest scores", order.iter().rev().map(|(_, at)| *at).take(SHOWN).collect()),
            ("lowest scores", order.iter().map(|(_, at)| *at).take(SHOWN).collect()),
        ]
    } else {
        vec![
            ("just accepted", kept.clone().take(SHOWN).collect()),
            ("just rejected", lost.clone().rev().take(SHOWN).collect()),
            ("best", kept.rev().take(SHOWN).collect()),
            ("worst", lost.take(SHOWN).collect()),
        ]
    };
    chosen.retain(|(_, rows)| !rows.is_empty());
    if chosen.is_empty() {
        return Ok(None);
    }
    let wanted: BTreeSet<String> =
        chosen.iter().flat_map(|(_, rows)| rows).filter_map(|at| ids.get(*at)).map(ToOwned::to_owned).collect();
    let shelf = Shelf::new(tables, judged, &wanted)?;
    let group = |(name, rows): (&'static str, Vec<usize>)| {
        let cards: Result<Vec<Card>, ReportError> = rows.into_iter().map(|at| shelf.card(at)).collect();
        Ok(Group { name, cards: cards? })
    };
    let groups: Result<Vec<Group>, ReportError> = chosen.into_iter().map(group).collect();
    Ok(Some(Samples { table: judged.table, order: order_in_words(judged), groups: groups? }))
}

fn order_in_words(judged: &Judged) -> String {
    let bound: Vec<&str> = judged.bounds.iter().map(|bound| bound.column.as_str()).collect();
    match (bound.as_slice(), judged.names.first()) {
        ([], Some(name)) => format!("ordered by {name}"),
        ([only], _) => format!("ordered by the distance of {only} from its threshold"),
        (several, _) => format!(
            "ordered by the distance from the nearest threshold ({}), each in its score's standard deviations",
            several.join(", ")
        ),
    }
}

/// How far each row is on the right side of its nearest threshold, in standard deviations; below zero on the wrong side.
/// Where there are no thresholds, the first score. `None` where a score is missing.
fn margins(judged: &Judged) -> Result<Vec<Option<f64>>, ReportError> {
    let mut margins: Vec<Option<f64>> = vec![Some(f64::INFINITY); judged.rows.height()];
    let mut is_bound = false;
    for bound in judged.bounds.iter().filter(|bound| judged.names.contains(&bound.column)) {
        is_bound = true;
        let values = numbers(&judged.rows, &bound.column)?;
        let spread = deviation(values);
        for (margin, value) in margins.iter_mut().zip(values.iter()) {
            let sides = value.filter(|value| value.is_finite()).map(|value| {
                let least = bound.min.map_or(f64::INFINITY, |min| (value - min) / spread);
                least.min(bound.max.map_or(f64::INFINITY, |max| (max - value) / spread))
            });
            *margin = margin.zip(sides).map(|(margin, side)| margin.min(side));
        }
    }
    match judged.names.first() {
        Some(first) if !is_bound => Ok(numbers(&judged.rows, first)?.iter().collect()),
        _ => Ok(margins),
    }
}

/// The standard deviation; 1 where the values do not differ.
fn deviation(values: &Float64Chunked) -> f64 {
    let finite = || values.iter().flatten().filter(|value| value.is_finite());
    let n = finite().count().max(1) as f64;
    let mean = finite().sum::<f64>() / n;
    let spread = (finite().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    if spread.is_finite() && spread > 0.0 { spread } else { 1.0 }
}

/// What belongs to the rows that are shown.
struct Shelf<'t, 'a> {
    tables: &'t Tables<'a>,
    judged: &'t Judged,
    own: HashMap<String, Row>,
    pairs: HashMap<String, Row>,
    references: HashMap<String, Row>,
    donors: HashMap<String, Row>,
}

impl<'t, 'a> Shelf<'t, 'a> {
    fn new(tables: &'t Tables<'a>, judged: &'t Judged, ids: &BTreeSet<String>) -> Result<Self, ReportError> {
        const OWN: [&str; 12] = [
            "pair_id",
            "reference_id",
            "w_id",
            "instruction",
            "caption",
            "class",
            "family",
            "generator",
            "alpha",
            "seed",
            "source",
            "licence",
        ];
        let own = lookup::rows(tables, judged.table, judged.id, ids, &OWN)?;
        let named = |rows: &HashMap<String, Row>, column: &str| -> BTreeSet<String> {
            rows.values().filter_map(|row| row.get(column)).map(ToOwned::to_owned).collect()
        };
        let pairs = lookup::rows(tables, PAIRS, "pair_id", &named(&own, "pair_id"), &OWN)?;
        let mut references = named(&own, "reference_id");
        references.extend(named(&pairs, "reference_id"));
        let references = lookup::rows(tables, REFERENCES, "reference_id", &references, &OWN)?;
        let donors = lookup::rows(tables, DONORS, "w_id", &named(&own, "w_id"), &[])?;
        Ok(Self { tables, judged, own, pairs, references, donors })
    }

    fn card(&self, at: usize) -> Result<Card, ReportError> {
        let rows = &self.judged.rows;
        let id = text(rows, self.judged.id, at).unwrap_or_default();
        let own = self.own.get(&id);
        let pair = own.and_then(|own| self.pairs.get(own.get("pair_id")?));
        let of_row = |row: Option<&Row>| row.and_then(|row| self.references.get(row.get("reference_id")?));
        let reference = of_row(own).or_else(|| of_row(pair));
        let donor = own.and_then(|own| self.donors.get(own.get("w_id")?));
        let anywhere =
            |column: &str| [own, pair, reference].into_iter().flatten().find_map(|row| row.get(column)).map(shown);
        let mut pictures = Vec::new();
        let mut add = |table, row: Option<&Row>, role, alt: String| {
            pictures.extend(row.map(|row| lookup::picture(self.tables, table, row, role, alt)));
        };
        add(REFERENCES, reference, "x", format!("x, the reference of {id}"));
        add(DONORS, donor, "w", format!("w of {id}"));
        add(CANDIDATES, own.filter(|_| self.judged.table == CANDIDATES), "x~", format!("x~, candidate {id}"));
        let mut scores = Vec::new();
        for name in &self.judged.names {
            let value = numbers(rows, name)?.get(at);
            scores.push((name.clone(), value.map_or_else(|| "missing".to_owned(), figure)));
        }
        let facts = ["class", "family", "generator", "alpha", "seed", "source", "licence"];
        Ok(Card {
            pictures,
            instruction: anywhere("instruction"),
            caption: anywhere("caption"),
            facts: facts.into_iter().filter_map(|name| Some((name, anywhere(name)?))).collect(),
            scores,
            verdict: verdict(rows.column("accepted")?.bool()?.get(at)),
            reason: text(rows, "reason", at).map(|reason| shown(&reason)),
            id,
        })
    }
}
