//! Which rows are published, and why the others are not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::stage::{WorkContext, WorkError};
use serde_json::Value;

use super::config::{PublishConfig, id_column};
use super::licence;
use super::said::{Dialogues, Said};
use super::table::link;
use super::verdicts::Verdicts;
use crate::tables::{self, REFERENCES};

/// Where a row stands: the position of its shard among the table's, and its own in the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) shard: u32,
    pub(super) row: u32,
}

/// The reason of an accepted candidate about which nothing is said.
const NO_DIALOGUE: &str = "no dialogue";

/// A row to publish: for each table of the chain, the id and where it stands.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) ids: Vec<String>,
    pub(super) at: Vec<At>,
    /// What is said about it; `None` where nothing upstream writes dialogues.
    pub(super) said: Option<Said>,
}

/// What was read of a table of the chain.
#[derive(Clone, Copy)]
pub(super) struct TableFacts {
    pub(super) n_rows: u64,
    /// Over the ids, in order.
    pub(super) ids_digest: Digest,
}

/// The outcome for all rows of the published table.
pub(super) struct Selection {
    /// In the order of the table.
    pub(super) chosen: Vec<Chosen>,
    /// Reason → rows.
    pub(super) rejected: BTreeMap<String, u64>,
    pub(super) n_considered: u64,
    pub(super) thresholds: BTreeSet<String>,
    pub(super) tables: BTreeMap<&'static str, TableFacts>,
    /// On dialogues, where there are any.
    pub(super) dialogues: Option<Value>,
}

/// A row of a table that is referred to.
struct Entry {
    at: At,
    /// The id of the next table's row; of a reference, its licence.
    next: Option<String>,
}

/// Judges every row.
pub(super) fn select(context: &WorkContext, config: &PublishConfig) -> Result<Selection, WorkError> {
    let chain = config.of.chain();
    let verdicts = if config.filtered { Some(Verdicts::read(context, config.of)?) } else { None };
    let mut facts_of = BTreeMap::new();
    let mut referred: Vec<HashMap<String, Entry>> = Vec::new();
    for table in chain.iter().skip(1) {
        let mut entries = HashMap::new();
        let facts = scan(context, table, |id, entry| {
            entries.entry(id.to_owned()).or_insert(entry);
        })?;
        facts_of.insert(*table, facts);
        referred.push(entries);
    }
    let mut selection = Selection {
        chosen: Vec::new(),
        rejected: BTreeMap::new(),
        n_considered: 0,
        thresholds: BTreeSet::new(),
        tables: facts_of,
        dialogues: None,
    };
    let dialogues = if config.speaks() { Dialogues::read(context)? } else { None };
    let mut seen = HashSet::new();
    let facts = scan(context, config.of.table(), |id, entry| {
        selection.n_considered += 1;
        let judged = if seen.insert(id.to_owned()) {
            judge(id, entry, &referred, verdicts.as_ref(), config)
        } else {
            Err("stands in the table twice".to_owned())
        };
        match judged {
            Ok(chosen) => match dialogues.as_ref().map(|dialogues| dialogues.about(id)) {
                None => selection.chosen.push(chosen),
                Some([]) => *selection.rejected.entry(NO_DIALOGUE.to_owned()).or_default() += 1,
                Some(all) => {
                    let with = |said: &Said| Chosen { said: Some(said.clone()), ..chosen.clone() };
                    selection.chosen.extend(all.iter().map(with));
                }
            },
            Err(reason) => *selection.rejected.entry(reason).or_default() += 1,
        }
    })?;
    selection.tables.insert(config.of.table(), facts);
    if let Some(dialogues) = dialogues {
        selection.dialogues = Some(dialogues.summary());
        selection.tables.insert(tables::DIALOGUES, dialogues.facts);
    }
    selection.thresholds = verdicts.map(|verdicts| verdicts.thresholds).unwrap_or_default();
    Ok(selection)
}

fn judge(
    id: &str,
    entry: Entry,
    referred: &[HashMap<String, Entry>],
    verdicts: Option<&Verdicts>,
    config: &PublishConfig,
) -> Result<Chosen, String> {
    let mut ids = vec![id];
    let mut at = vec![entry.at];
    let mut next = entry.next.as_deref();
    let mut complete = true;
    for entries in referred {
        let Some((id, entry)) = next.and_then(|id| entries.get_key_value(id)) else {
            complete = false;
            break;
        };
        ids.push(id);
        at.push(entry.at);
        next = entry.next.as_deref();
    }
    if let Some(reason) = verdicts.and_then(|verdicts| verdicts.refusal(&ids)) {
        return Err(reason);
    }
    if !complete {
        let missing = config.of.chain().get(ids.len()).copied().unwrap_or(REFERENCES);
        return Err(format!("refers to a row that `{missing}` does not have"));
    }
    match licence::refusal(config, next) {
        Some(reason) => Err(reason),
        None => Ok(Chosen { ids: ids.into_iter().map(ToOwned::to_owned).collect(), at, said: None }),
    }
}

/// Calls `visit` with each row of `table` that has an id.
fn scan(
    context: &WorkContext,
    table: &'static str,
    mut visit: impl FnMut(&str, Entry),
) -> Result<TableFacts, WorkError> {
    let next_column = link(table).unwrap_or("licence");
    let columns = [id_column(table).to_owned(), next_column.to_owned()];
    let mut hasher = blake3::Hasher::new();
    let mut n_rows = 0;
    for (shard, input) in (0..).zip(context.shards(table)) {
        context.cancel.check()?;
        let rows = context.read(input, Some(&columns))?;
        let (ids, next) = (rows.column(id_column(table))?.str()?, rows.column(next_column)?.str()?);
        for (row, (id, next)) in (0..).zip(ids.iter().zip(next.iter())) {
            n_rows += 1;
            let Some(id) = id else { continue };
            hasher.update(&(id.len() as u64).to_le_bytes());
            hasher.update(id.as_bytes());
            visit(id, Entry { at: At { shard, row }, next: next.map(ToOwned::to_owned) });
        }
    }
    let ids_digest = Hasher::new("ids/v1").bytes("ids", hasher.finalize().as_bytes()).digest();
    Ok(TableFacts { n_rows, ids_digest })
}
