//! What the filters upstream decided, over the published table and over those that it refers to.

use std::collections::{BTreeSet, HashMap, HashSet};

use cafe_pipeline::stage::{WorkContext, WorkError};

use super::config::{Subject, id_column};
use crate::review::NOT_REVIEWED;
use crate::tables;

/// The reason of a row that a filter never saw, for example because it could not be scored.
const NO_VERDICT: &str = "no verdict";

/// The decisions of one filter.
struct Gate {
    /// Position in the chain of the table that it judges.
    level: usize,
    /// Id → position of the reason in [`Verdicts::reasons`]; `None` where accepted.
    decisions: HashMap<String, Option<u32>>,
}

/// The decisions of all filters.
pub(crate) struct Verdicts {
    chain: &'static [&'static str],
    gates: Vec<Gate>,
    reasons: Vec<String>,
    /// The rules of the filters, as text.
    pub(super) thresholds: BTreeSet<String>,
}

impl Verdicts {
    /// Reads them.
    pub(crate) fn read(context: &WorkContext, of: Subject) -> Result<Self, WorkError> {
        let chain = of.chain();
        let mut verdicts = Self { chain, gates: Vec::new(), reasons: Vec::new(), thresholds: BTreeSet::new() };
        let mut gates: HashMap<(String, usize), usize> = HashMap::new();
        let mut known: HashMap<String, u32> = HashMap::new();
        for shard in context.shards(tables::VERDICTS) {
            context.cancel.check()?;
            let rows = context.read(shard, None)?;
            // Verdicts over a table that is not in the chain are no business of this release.
            let level = chain.iter().position(|table| rows.column(id_column(table)).is_ok());
            let Some((level, table)) = level.and_then(|level| Some((level, chain.get(level)?))) else { continue };
            let at = *gates.entry((shard.node.clone(), level)).or_insert_with(|| {
                verdicts.gates.push(Gate { level, decisions: HashMap::new() });
                verdicts.gates.len() - 1
            });
            let ids = rows.column(id_column(table))?.str()?;
            let (accepted, reasons) = (rows.column("accepted")?.bool()?, rows.column("reason")?.str()?);
            for ((id, accepted), reason) in ids.iter().zip(accepted.iter()).zip(reasons.iter()) {
                let Some(id) = id else { continue };
                let decision = (accepted != Some(true)).then(|| {
                    let reason = reason.unwrap_or("rejected");
                    *known.entry(reason.to_owned()).or_insert_with(|| {
                        verdicts.reasons.push(reason.to_owned());
                        (verdicts.reasons.len() - 1) as u32
                    })
                });
                if let Some(gate) = verdicts.gates.get_mut(at) {
                    gate.decisions.insert(id.to_owned(), decision);
                }
            }
            let thresholds = rows.column("thresholds")?.str()?;
            let mut last = None;
            for text in thresholds.iter().filter(|text| *text != std::mem::replace(&mut last, *text)) {
                verdicts.thresholds.extend(text.map(ToOwned::to_owned));
            }
        }
        // The published table's own filters speak first, in an order that the names of stages do not decide.
        verdicts.gates.sort_by_key(|gate| gate.level);
        Ok(verdicts)
    }

    /// The rows of the published table that some filter rejects. One that a person is still to see is none of them, whatever is done
    /// with it until then.
    pub(super) fn rejected(self) -> HashSet<String> {
        let unseen = self.reasons.iter().position(|reason| reason == NOT_REVIEWED);
        let is_verdict = |reason: &u32| Some(*reason as usize) != unseen;
        let own = self.gates.into_iter().filter(|gate| gate.level == 0);
        own.flat_map(|gate| gate.decisions).filter_map(|(id, reason)| reason.filter(is_verdict).map(|_| id)).collect()
    }

    /// Why a row with these ids, in the order of the chain, is not accepted; `None` where every filter accepts it.
    pub(crate) fn refusal(&self, ids: &[&str]) -> Option<String> {
        if self.gates.is_empty() {
            return Some(NO_VERDICT.to_owned());
        }
        for (level, id) in ids.iter().enumerate() {
            // Where several filters refuse, the reason that sorts first is told.
            let refusals =
                self.gates.iter().filter(|gate| gate.level == level).filter_map(|gate| match gate.decisions.get(*id) {
                    None => Some(NO_VERDICT),
                    Some(None) => None,
                    Some(Some(reason)) => self.reasons.get(*reason as usize).map(String::as_str),
                });
            if let Some(reason) = refusals.min() {
                let table = self.chain.get(level).copied().unwrap_or_default();
                return Some(if level == 0 { reason.to_owned() } else { format!("{table}: {reason}") });
            }
        }
        None
    }
}
