//! What user and assistant say about candidates: the table `dialogues`, as a release reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{WorkContext, WorkError};
use serde_json::{Value, json};

use super::select::TableFacts;
use crate::{ids, tables};

/// The columns that are read.
pub(super) const COLUMNS: [&str; 5] = ["candidate_id", "dialogue_index", "y", "y_tilde", "model"];

/// What is said once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    index: u32,
    pub(super) y: String,
    pub(super) y_tilde: String,
}

/// All that is said.
pub(super) struct Dialogues {
    by_candidate: HashMap<String, Vec<Said>>,
    /// Model → its dialogues.
    models: BTreeMap<String, u64>,
    pub(super) facts: TableFacts,
}

impl Dialogues {
    /// Reads them; `None` where nothing upstream writes any.
    pub(super) fn read(context: &WorkContext) -> Result<Option<Self>, WorkError> {
        let shards = context.shards(tables::DIALOGUES);
        if shards.is_empty() {
            return Ok(None);
        }
        let columns = COLUMNS.map(ToOwned::to_owned);
        let mut by_candidate: HashMap<String, Vec<Said>> = HashMap::new();
        let mut models = BTreeMap::new();
        let (mut hasher, mut n_rows) = (blake3::Hasher::new(), 0);
        for shard in shards {
            context.cancel.check()?;
            let rows = context.read(shard, Some(&columns))?;
            let text = |name: &str| rows.column(name)?.str();
            let (candidates, y, y_tilde) = (text("candidate_id")?, text("y")?, text("y_tilde")?);
            let (indices, of) = (rows.column("dialogue_index")?.u32()?, text("model")?);
            for row in 0..rows.height() {
                n_rows += 1;
                let (Some(candidate), Some(y)) = (candidates.get(row), y.get(row)) else { continue };
                let Some(y_tilde) = y_tilde.get(row) else { continue };
                hasher.update(ids::quadruplet_id("candidate_id", candidate, Some(y), Some(y_tilde)).as_bytes());
                *models.entry(of.get(row).unwrap_or("(none)").to_owned()).or_default() += 1;
                let index = indices.get(row).unwrap_or(0);
                let said = Said { index, y: y.to_owned(), y_tilde: y_tilde.to_owned() };
                by_candidate.entry(candidate.to_owned()).or_default().push(said);
            }
        }
        for said in by_candidate.values_mut() {
            said.sort();
            // Two stages may say the same; as a row it would have the same id.
            let mut seen = BTreeSet::new();
            said.retain(|said| seen.insert((said.y.clone(), said.y_tilde.clone())));
        }
        let ids_digest = Hasher::new("ids/v1").bytes("ids", hasher.finalize().as_bytes()).digest();
        Ok(Some(Self { by_candidate, models, facts: TableFacts { n_rows, ids_digest } }))
    }

    /// What is said about a candidate, in order.
    pub(super) fn about(&self, candidate_id: &str) -> &[Said] {
        self.by_candidate.get(candidate_id).map_or(&[], Vec::as_slice)
    }

    /// For `release.json`.
    pub(super) fn summary(&self) -> Value {
        json!({ "n_dialogues": self.facts.n_rows, "models": self.models })
    }
}
