//! What a dialogue depends on, from the tables beside `candidates`: whether the candidate was accepted, and its pair's words.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{WorkContext, WorkError};
use polars::prelude::*;

use crate::publish::{Subject, Verdicts};
use crate::tables;

/// The columns of `pairs` that are read.
const PAIR: [&str; 5] = ["pair_id", "reference_id", "class", "instruction", "caption"];

/// What one shard's candidates need.
struct Beside {
    pairs: HashMap<String, Pair>,
    verdicts: Option<Verdicts>,
}

struct Pair {
    reference_id: Option<String>,
    words: [Option<String>; 3],
}

/// Keeps what was read last: the batches of a shard come one after the other.
#[derive(Default)]
pub(super) struct Join {
    last: Mutex<Option<(Vec<Digest>, Arc<Beside>)>>,
}

impl Join {
    /// Candidates with `accepted`, and with `class`, `instruction` and `caption` of their pairs: null where there is no pair,
    /// and where they are not accepted. So neither the filter's reason nor a word that is not used decides under which key a
    /// row is journaled.
    pub(super) fn add(&self, context: &WorkContext, rows: &DataFrame, filtered: bool) -> Result<DataFrame, WorkError> {
        let beside = self.beside(context, filtered)?;
        let (ids, pairs) = (rows.column("candidate_id")?.str()?, rows.column("pair_id")?.str()?);
        let mut accepted = Vec::with_capacity(rows.height());
        let mut words: [Vec<Option<String>>; 3] = Default::default();
        for (id, pair_id) in ids.iter().zip(pairs.iter()) {
            let pair = pair_id.and_then(|id| beside.pairs.get(id));
            let is_accepted = beside.verdicts.as_ref().is_none_or(|verdicts| {
                let reference = pair.and_then(|pair| pair.reference_id.as_deref());
                let chain: Vec<&str> = [id, pair_id, reference].into_iter().map_while(|id| id).collect();
                verdicts.refusal(&chain).is_none()
            });
            accepted.push(is_accepted);
            for (at, words) in words.iter_mut().enumerate() {
                let word = pair.filter(|_| is_accepted).and_then(|pair| pair.words.get(at).cloned().flatten());
                words.push(word);
            }
        }
        let [class, instruction, caption] = words;
        let columns = vec![
            rows.column("candidate_id")?.clone(),
            Column::new("accepted".into(), accepted),
            Column::new("class".into(), class),
            Column::new("instruction".into(), instruction),
            Column::new("caption".into(), caption),
        ];
        Ok(DataFrame::new(rows.height(), columns)?)
    }

    fn beside(&self, context: &WorkContext, filtered: bool) -> Result<Arc<Beside>, WorkError> {
        let shards = [tables::PAIRS, tables::VERDICTS].into_iter().flat_map(|table| context.shards(table));
        let digests: Vec<Digest> = shards.map(|shard| shard.digest).collect();
        if let Some((last, beside)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && *last == digests
        {
            return Ok(Arc::clone(beside));
        }
        let verdicts = if filtered { Some(Verdicts::read(context, Subject::Candidates)?) } else { None };
        let beside = Arc::new(Beside { pairs: pairs(context)?, verdicts });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((digests, Arc::clone(&beside)));
        Ok(beside)
    }
}

fn pairs(context: &WorkContext) -> Result<HashMap<String, Pair>, WorkError> {
    let rows = context.table(tables::PAIRS, Some(&PAIR))?;
    let text = |name: &str| rows.column(name)?.str();
    let (ids, references) = (text("pair_id")?, text("reference_id")?);
    let words = [text("class")?, text("instruction")?, text("caption")?];
    let mut pairs = HashMap::with_capacity(rows.height());
    for (row, (id, reference)) in ids.iter().zip(references.iter()).enumerate() {
        let Some(id) = id else { continue };
        let words = words.map(|column| column.get(row).map(ToOwned::to_owned));
        pairs.insert(id.to_owned(), Pair { reference_id: reference.map(ToOwned::to_owned), words });
    }
    Ok(pairs)
}
