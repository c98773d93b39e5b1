//! The run beside the paper's Table 3: what each generator made in each round, what was kept of it and what that took, in the
//! columns of the paper's own sets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use polars::prelude::DataType;
use serde::Serialize;

use super::tables::{NODE, Tables, Units};
use super::yields::{Group, Seconds};
use super::{Facts, ReportError, shown};
use crate::tables::{CANDIDATES, REVIEWS};

/// Sets shown; the rest is summed up.
const MAX_SETS: usize = 12;
/// Devices named of a set.
const MAX_DEVICES: usize = 4;

/// Both tables.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// By round and generator.
    sets: Vec<Set>,
    total: Set,
    /// The paper's, which were not measured here.
    paper: Vec<Set>,
}

/// Images of one origin. `None` is what is not known.
#[derive(Debug, Serialize)]
struct Set {
    name: String,
    /// Images generated.
    n: Option<u64>,
    n_kept: u64,
    n_undecided: u64,
    /// Of those decided.
    kept_share: Option<f64>,
    /// What they were generated on.
    devices: Vec<String>,
    device_secs: Option<f64>,
    people_secs: Option<f64>,
    device_secs_per_kept: Option<f64>,
    /// With what the sets took that must be there before: a model that was trained on them draws these.
    device_secs_in_all: Option<f64>,
    device_secs_in_all_per_kept: Option<f64>,
    /// Of a model that was trained on them: likeness of faces, and to the text.
    id: Option<f64>,
    clip_t: Option<f64>,
}

/// A row of Table 3 of arXiv 2312.03045, with what the text says of it besides.
struct Published {
    name: &'static str,
    n: Option<u64>,
    n_kept: u64,
    gpu_hours: f64,
    gpu_hours_in_all: f64,
    people_hours: f64,
    id: f64,
    clip_t: f64,
}

/// The paper's sets of faces.
const PAPER: [Published; 4] = [
    Published {
        name: "D1: ProFusion, filtered by CLIP and DINO",
        n: Some(3_000_000),
        n_kept: 207_000,
        gpu_hours: 10_000.0,
        gpu_hours_in_all: 10_000.0,
        people_hours: 0.0,
        id: 0.433,
        clip_t: 0.294,
    },
    Published {
        name: "D2: D1, filtered by people",
        n: Some(3_000_000),
        n_kept: 93_000,
        gpu_hours: 10_000.0,
        gpu_hours_in_all: 10_000.0,
        people_hours: 1_500.0,
        id: 0.441,
        clip_t: 0.288,
    },
    Published {
        name: "D3: drawn by the model of D1 (Eq. 4)",
        n: None,
        n_kept: 148_000,
        gpu_hours: 1_500.0,
        gpu_hours_in_all: 11_500.0,
        people_hours: 0.0,
        id: 0.465,
        clip_t: 0.291,
    },
    Published {
        name: "D4: D1 and D3",
        n: None,
        n_kept: 355_000,
        gpu_hours: 11_500.0,
        gpu_hours_in_all: 11_500.0,
        people_hours: 0.0,
        id: 0.464,
        clip_t: 0.297,
    },
];

impl Published {
    fn set(&self) -> Set {
        let secs = |hours: f64| hours * 3600.0;
        let (own, in_all) = (secs(self.gpu_hours), secs(self.gpu_hours_in_all));
        Set {
            name: self.name.to_owned(),
            n: self.n,
            n_kept: self.n_kept,
            n_undecided: 0,
            kept_share: self.n.map(|n| self.n_kept as f64 / n as f64),
            devices: vec!["A100".to_owned()],
            device_secs: Some(own),
            people_secs: known(secs(self.people_hours)),
            device_secs_per_kept: per_kept(own, self.n_kept),
            device_secs_in_all: Some(in_all),
            device_secs_in_all_per_kept: per_kept(in_all, self.n_kept),
            id: Some(self.id),
            clip_t: Some(self.clip_t),
        }
    }
}

/// What becomes a [`Set`].
#[derive(Clone, Default)]
struct Tally<'f> {
    group: Group,
    people_secs: f64,
    devices: BTreeSet<&'f str>,
}

impl Tally<'_> {
    fn merge(&mut self, other: &Self) {
        self.group.merge(&other.group);
        self.people_secs += other.people_secs;
        self.devices.extend(&other.devices);
    }

    /// `earlier_secs` were needed before; `None` where that makes no sense.
    fn finished(self, name: String, earlier_secs: Option<f64>) -> Set {
        let Group { n, n_kept, n_undecided, kept_share, device_secs, device_secs_per_kept, .. } =
            self.group.finished(String::new());
        let in_all = earlier_secs.and_then(|earlier| known(earlier + device_secs));
        Set {
            name,
            n: Some(n),
            n_kept,
            n_undecided,
            kept_share,
            devices: self.devices.into_iter().take(MAX_DEVICES).map(shown).collect(),
            device_secs: known(device_secs),
            people_secs: known(self.people_secs),
            device_secs_per_kept,
            device_secs_in_all: in_all,
            device_secs_in_all_per_kept: in_all.and_then(|secs| per_kept(secs, n_kept)),
            id: None,
            clip_t: None,
        }
    }
}

/// A time that somebody measured.
fn known(secs: f64) -> Option<f64> {
    (secs > 0.0).then_some(secs)
}

fn per_kept(secs: f64, n_kept: u64) -> Option<f64> {
    (n_kept > 0).then(|| secs / n_kept as f64)
}

/// Round and generator of a set.
type Key = (Option<u32>, String);

/// Sums up the candidates; `None` where there are none.
pub(super) fn comparison(facts: &Facts, tables: &Tables<'_>, units: &Units) -> Result<Option<Comparison>, ReportError> {
    if units.table != CANDIDATES || units.rows.height() == 0 {
        return Ok(None);
    }
    let mut sets: Vec<(Key, Tally<'_>)> = tallies(facts, tables, units)?.into_iter().collect();
    let mut total = Tally::default();
    sets.iter().for_each(|(_, tally)| total.merge(tally));
    let spent: Vec<(Option<u32>, f64)> =
        sets.iter().map(|((round, _), tally)| (*round, tally.group.device_secs)).collect();
    let before = |round: Option<u32>| {
        spent.iter().filter(|(earlier, _)| earlier.is_some() && *earlier < round).map(|(_, secs)| secs).sum::<f64>()
    };
    // Names of generators may come from outside, and be any number.
    sets.sort_by_key(|(_, tally)| Reverse(tally.group.n));
    let rest = sets.split_off(sets.len().min(MAX_SETS));
    sets.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut sets: Vec<Set> = sets
        .into_iter()
        .map(|((round, generator), tally)| {
            let name = match round {
                Some(round) => format!("{}, round {round}", shown(&generator)),
                None => shown(&generator),
            };
            tally.finished(name, Some(before(round)))
        })
        .collect();
    if !rest.is_empty() {
        let mut sum = Tally::default();
        rest.iter().for_each(|(_, tally)| sum.merge(tally));
        sets.push(sum.finished(format!("{} others", rest.len()), None));
    }
    let paper = PAPER.iter().map(Published::set).collect();
    Ok(Some(Comparison { sets, total: total.finished("all".to_owned(), Some(0.0)), paper }))
}

fn tallies<'f>(facts: &'f Facts, tables: &Tables<'_>, units: &Units) -> Result<BTreeMap<Key, Tally<'f>>, ReportError> {
    let seconds = Seconds::new(facts, tables, units)?;
    let people = people(tables)?;
    let nodes: Vec<BTreeSet<&str>> = tables
        .of(CANDIDATES)
        .map(|part| {
            let own = facts.ledger.iter().filter(|entry| entry.node == part.node);
            own.filter_map(|entry| entry.backend.as_deref()).collect()
        })
        .collect();
    let (ids, generators) = (units.rows.column("id")?.str()?, units.rows.column("generator")?.str()?);
    let (rounds, parts) = (units.rows.column("round")?.u32()?, units.rows.column(NODE)?.u32()?);
    let mut tallies: BTreeMap<Key, Tally<'f>> = BTreeMap::new();
    for (row, accepted) in units.rows.column("accepted")?.bool()?.iter().enumerate() {
        let key = (rounds.get(row), generators.get(row).unwrap_or("(none)").to_owned());
        let tally = tallies.entry(key).or_default();
        tally.group.add(accepted, units.is_judged, seconds.of(row));
        tally.people_secs += ids.get(row).and_then(|id| people.get(id)).copied().unwrap_or_default();
        tally.devices.extend(parts.get(row).and_then(|part| nodes.get(part as usize)).into_iter().flatten());
    }
    Ok(tallies)
}

/// How long people looked at each candidate, where they said it.
fn people(tables: &Tables<'_>) -> Result<HashMap<String, f64>, ReportError> {
    let rows = tables.stack(REVIEWS, &[("candidate_id", DataType::String), ("secs", DataType::Float64)])?;
    let mut people: HashMap<String, f64> = HashMap::new();
    for (id, secs) in rows.column("candidate_id")?.str()?.iter().zip(rows.column("secs")?.f64()?.iter()) {
        if let (Some(id), Some(secs)) = (id, secs) {
            *people.entry(id.to_owned()).or_default() += secs;
        }
    }
    Ok(people)
}
