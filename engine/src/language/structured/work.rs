//! The prompts of one call on their way to replies.

use std::collections::BTreeMap;

use serde_json::Value;

use super::guide::Guided;
use super::{Outcome, Prompt, Ready, Writer, Written, of_prompt};
use crate::language::generate::{Finish, Next, Reply, Request, Work};
use crate::language::sequence::Sequence;
use crate::{EngineError, Result};

/// What [`Writer::write`] has the model do.
pub(super) struct Writing<'a> {
    writer: &'a Writer,
    prompts: &'a [Prompt],
    ready: Vec<Ready>,
    n_begun: usize,
    /// What all prompts begin with.
    shared: Sequence,
    /// Replies in the making, by their place in `ready`.
    guided: BTreeMap<usize, Guided>,
    /// By places of prompts.
    written: &'a mut [Option<Result<Written>>],
}

impl<'a> Writing<'a> {
    pub(super) fn new(
        writer: &'a Writer,
        prompts: &'a [Prompt],
        ready: Vec<Ready>,
        shared: Sequence,
        written: &'a mut [Option<Result<Written>>],
    ) -> Self {
        Self { writer, prompts, ready, n_begun: 0, shared, guided: BTreeMap::new(), written }
    }

    /// The first outcome of a prompt counts.
    fn settle(&mut self, place: usize, found: Result<Written>) {
        let Some(index) = self.ready.get(place).map(|ready| ready.index) else { return };
        if let Some(written @ None) = self.written.get_mut(index) {
            *written = Some(found.map_err(|error| of_prompt(index, error)));
        }
    }

    fn judge(&mut self, place: usize, reply: &Reply) -> Result<Written> {
        let guided = self.guided.remove(&place);
        let mut guided = guided.ok_or_else(|| EngineError::argument("its reply was not begun"))?;
        let is_complete = match reply.finish {
            Finish::Stop(_) | Finish::Ended => true,
            // Its last token may be the one that completes it.
            Finish::Length | Finish::Positions => {
                guided.take(&reply.ids)?;
                guided.is_complete()
            }
            Finish::NoToken => return Err(EngineError::argument("no token may come next: the scores are not numbers")),
        };
        let bytes = self.writer.guide.bytes(&reply.ids);
        let outcome = match is_complete {
            false => Outcome::OutOfTokens,
            true => Outcome::Complete(serde_json::from_slice(&bytes).map(plain).map_err(|error| {
                EngineError::argument(format!("the reply is no JSON: {error}: {}", String::from_utf8_lossy(&bytes)))
            })?),
        };
        Ok(Written {
            outcome,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            n_prompt: self.ready.get(place).map_or(0, |ready| ready.ids.len()),
            n_shared: self.shared.len(),
            n_written: reply.ids.len(),
        })
    }
}

/// `-0` is an integer to JSON Schema, but not to who reads one: it is made `0`.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::from(0),
        Value::Array(values) => values.into_iter().map(plain).collect(),
        Value::Object(values) => values.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        value => value,
    }
}

impl Work for Writing<'_> {
    fn next(&mut self) -> Option<Result<Request>> {
        let place = self.n_begun;
        let Ready { index, ids } = self.ready.get(place)?;
        let prompt = self.prompts.get(*index)?;
        self.n_begun += 1;
        self.guided.insert(place, self.writer.guide.begin());
        let own = ids.get(self.shared.len()..).unwrap_or_default();
        Some(self.writer.llama.embed(own).map_err(EngineError::from).map(|embeddings| Request {
            prompt: embeddings,
            sequence: self.shared.clone(),
            sampling: prompt.sampling.clone(),
            noise: prompt.noise.clone(),
            max_new_tokens: self.writer.max_new_tokens,
            stop: self.writer.tokenizer.stop_ids().to_vec(),
        }))
    }

    fn constrain(&mut self, index: usize, ids: &[u32], logits: &mut [f32]) -> Result<Next> {
        let Some(guided) = self.guided.get_mut(&index) else { return Ok(Next::End) };
        let next = guided.take(ids).and_then(|()| match guided.is_complete() {
            true => Ok(Next::End),
            false => guided.mask(logits).map(|()| Next::Choose),
        });
        // The other replies go on.
        Ok(next.unwrap_or_else(|error| {
            self.settle(index, Err(error));
            Next::End
        }))
    }

    fn done(&mut self, index: usize, reply: Reply) {
        let found = self.judge(index, &reply);
        self.settle(index, found);
    }
}
