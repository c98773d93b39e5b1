//! Some dialogues, of each speech act one before any has two.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::DataType;
use serde::Serialize;

use super::lookup::{self, Picture};
use super::tables::{Tables, text};
use super::{ReportError, shown};
use crate::tables::{CANDIDATES, PAIRS, REFERENCES};

/// Dialogues shown.
const SHOWN: usize = 5;

/// What is shown, and of how many.
#[derive(Debug, Serialize)]
pub(super) struct Dialogues {
    n_rows: u64,
    /// Speech act → dialogues.
    speech_acts: BTreeMap<String, u64>,
    dialogues: Vec<Dialogue>,
}

#[derive(Debug, Serialize)]
struct Dialogue {
    candidate_id: String,
    speech_act: Option<String>,
    /// What the user says.
    y: String,
    /// What the assistant replies.
    y_tilde: String,
    pictures: Vec<Picture>,
}

/// Chooses; `None` where no stage of the project makes dialogues.
pub(super) fn dialogues(tables: &Tables<'_>) -> Result<Option<Dialogues>, ReportError> {
    const TABLE: &str = "dialogues";
    if !tables.has(TABLE) {
        return Ok(None);
    }
    let rows = tables.stack(TABLE, &[("candidate_id", DataType::String), ("speech_act", DataType::String)])?;
    let mut speech_acts: BTreeMap<String, u64> = BTreeMap::new();
    // Candidates by speech act, by id: a sample that does not depend on the order of rows.
    let mut by_act: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
    for at in 0..rows.height() {
        let act = text(&rows, "speech_act", at);
        if let Some(act) = &act {
            *speech_acts.entry(act.clone()).or_default() += 1;
        }
        by_act.entry(act).or_default().extend(text(&rows, "candidate_id", at));
    }
    let mut chosen: Vec<String> = Vec::new();
    let most = by_act.values().map(BTreeSet::len).max().unwrap_or(0);
    'rounds: for round in 0..most {
        for id in by_act.values().filter_map(|ids| ids.iter().nth(round)) {
            if chosen.len() == SHOWN {
                break 'rounds;
            }
            if !chosen.contains(id) {
                chosen.push(id.clone());
            }
        }
    }
    let ids: BTreeSet<String> = chosen.iter().cloned().collect();
    let found = lookup::rows(tables, TABLE, "candidate_id", &ids, &["speech_act", "y", "y_tilde"])?;
    let candidates = lookup::rows(tables, CANDIDATES, "candidate_id", &ids, &["pair_id"])?;
    let named = |rows: &std::collections::HashMap<String, lookup::Row>, column: &str| -> BTreeSet<String> {
        rows.values().filter_map(|row| row.get(column)).map(ToOwned::to_owned).collect()
    };
    let pairs = lookup::rows(tables, PAIRS, "pair_id", &named(&candidates, "pair_id"), &["reference_id"])?;
    let references = lookup::rows(tables, REFERENCES, "reference_id", &named(&pairs, "reference_id"), &[])?;
    let dialogue = |id: String| {
        let row = found.get(&id)?;
        let candidate = candidates.get(&id);
        let pair = candidate.and_then(|candidate| pairs.get(candidate.get("pair_id")?));
        let reference = pair.and_then(|pair| references.get(pair.get("reference_id")?));
        let picture = |table, row, role, alt| lookup::picture(tables, table, row, role, alt);
        let x = reference.map(|row| picture(REFERENCES, row, "x", format!("x, the reference of {id}")));
        let target = candidate.map(|row| picture(CANDIDATES, row, "x~", format!("x~, candidate {id}")));
        Some(Dialogue {
            speech_act: row.get("speech_act").map(shown),
            y: shown(row.get("y").unwrap_or_default()),
            y_tilde: shown(row.get("y_tilde").unwrap_or_default()),
            pictures: x.into_iter().chain(target).collect(),
            candidate_id: id,
        })
    };
    let dialogues = chosen.into_iter().filter_map(dialogue).collect();
    Ok(Some(Dialogues { n_rows: tables.n_rows(TABLE), speech_acts, dialogues }))
}
