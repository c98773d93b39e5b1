//! The tables `dialogues` and `dialogue_tries`.

use std::collections::BTreeMap;

use cafe_pipeline::stage::ROW;
use polars::prelude::*;
use serde_json::json;

use super::converse::{Candidate, Dialogue};
use super::template::{Said, VERSION};
use crate::{ids, tables};

/// The rows of candidates that are done, in their order.
pub(super) fn tables(candidates: &[Candidate], model: &str) -> PolarsResult<BTreeMap<String, DataFrame>> {
    Ok(BTreeMap::from([
        (tables::DIALOGUES.to_owned(), dialogues(candidates, model)?),
        (tables::DIALOGUE_TRIES.to_owned(), tries(candidates)?),
    ]))
}

fn dialogues(candidates: &[Candidate], model: &str) -> PolarsResult<DataFrame> {
    let all = candidates
        .iter()
        .flat_map(|candidate| (0_u32..).zip(&candidate.dialogues).map(move |(n, d)| (candidate, n, d)));
    let rows: Vec<(&Candidate, u32, &Dialogue, &Said)> = all
        .filter_map(|(candidate, index, dialogue)| Some((candidate, index, dialogue, dialogue.said.as_ref()?)))
        .collect();
    let last = |dialogue: &Dialogue| dialogue.tries.last().map(|last| (last.request, last.reply.clone()));
    let turns = |said: &Said| {
        let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
        json!([turn("user", &said.user), turn("assistant", &said.assistant)]).to_string()
    };
    let id = |id: &str, said: &Said| ids::quadruplet_id("candidate_id", id, Some(&said.user), Some(&said.assistant));
    frame([
        texts("quadruplet_id", rows.iter().map(|(candidate, _, _, said)| Some(id(&candidate.id, said)))),
        texts("candidate_id", rows.iter().map(|(candidate, ..)| Some(candidate.id.clone()))),
        Column::new("dialogue_index".into(), rows.iter().map(|(_, index, ..)| *index).collect::<Vec<u32>>()),
        texts("speech_act", rows.iter().map(|(_, _, dialogue, _)| Some(dialogue.act.as_str().to_owned()))),
        texts("y", rows.iter().map(|(.., said)| Some(said.user.clone()))),
        texts("y_tilde", rows.iter().map(|(.., said)| Some(said.assistant.clone()))),
        texts("turns", rows.iter().map(|(.., said)| Some(turns(said)))),
        texts("model", rows.iter().map(|_| Some(model.to_owned()))),
        texts("template_version", rows.iter().map(|_| Some(VERSION.to_owned()))),
        texts("request_digest", rows.iter().map(|(_, _, dialogue, _)| Some(last(dialogue)?.0.to_hex()))),
        Column::new("n_tries".into(), rows.iter().map(|(_, _, d, _)| d.tries.len() as u32).collect::<Vec<u32>>()),
        numbers("prompt_tokens", rows.iter().map(|(_, _, dialogue, _)| last(dialogue)?.1.prompt_tokens)),
        numbers("completion_tokens", rows.iter().map(|(_, _, dialogue, _)| last(dialogue)?.1.completion_tokens)),
        texts("raw_reply", rows.iter().map(|(_, _, dialogue, _)| Some(last(dialogue)?.1.text))),
        Column::new(ROW.into(), rows.iter().map(|(candidate, ..)| candidate.row).collect::<Vec<u32>>()),
    ])
}

fn tries(candidates: &[Candidate]) -> PolarsResult<DataFrame> {
    let mut rows = Vec::new();
    for candidate in candidates {
        for (index, dialogue) in (0_u32..).zip(&candidate.dialogues) {
            rows.extend((0_u32..).zip(&dialogue.tries).map(|(number, tried)| (candidate, index, number, tried)));
        }
    }
    frame([
        texts("candidate_id", rows.iter().map(|(candidate, ..)| Some(candidate.id.clone()))),
        Column::new("dialogue_index".into(), rows.iter().map(|(_, index, ..)| *index).collect::<Vec<u32>>()),
        Column::new("try".into(), rows.iter().map(|(_, _, number, _)| *number).collect::<Vec<u32>>()),
        Column::new("seed".into(), rows.iter().map(|(.., tried)| tried.seed).collect::<Vec<u32>>()),
        texts("request_digest", rows.iter().map(|(.., tried)| Some(tried.request.to_hex()))),
        texts("error", rows.iter().map(|(.., tried)| tried.mistake.clone())),
        texts("raw_reply", rows.iter().map(|(.., tried)| Some(tried.reply.text.clone()))),
        numbers("prompt_tokens", rows.iter().map(|(.., tried)| tried.reply.prompt_tokens)),
        numbers("completion_tokens", rows.iter().map(|(.., tried)| tried.reply.completion_tokens)),
        texts(
            "faults",
            rows.iter().map(|(.., tried)| {
                let faults = &tried.reply.faults;
                (!faults.is_empty()).then(|| faults.join("\n"))
            }),
        ),
        Column::new(ROW.into(), rows.iter().map(|(candidate, ..)| candidate.row).collect::<Vec<u32>>()),
    ])
}

fn texts(name: &str, values: impl Iterator<Item = Option<String>>) -> Column {
    values.collect::<StringChunked>().with_name(name.into()).into_column()
}

fn numbers(name: &str, values: impl Iterator<Item = Option<u64>>) -> Column {
    values.collect::<UInt64Chunked>().with_name(name.into()).into_column()
}

fn frame<const N: usize>(columns: [Column; N]) -> PolarsResult<DataFrame> {
    let n_rows = columns.first().map_or(0, Column::len);
    DataFrame::new(n_rows, columns.into_iter().collect())
}
