//! Structured output: replies to many prompts that are JSON and follow a schema, by guided decoding.

mod fraction;
mod guide;
mod schema;
mod vocabulary;
mod work;

use serde_json::Value;

use super::chat::ChatTokenizer;
use super::llama::Llama;
use super::sample::Sampling;
use super::sequence::Sequence;
use super::template::Message;
use crate::noise::Noise;
use crate::{EngineError, Result};
use guide::Guide;
use work::Writing;

/// Writes JSON that follows a schema.
///
/// Supported of JSON Schema are `type`, `enum`, `const`, `anyOf`, `properties`, `required`, `items`, `minItems`, `maxItems`,
/// `minLength`, `maxLength`, and the bounds of numbers; anything else is refused. Objects have the properties of the schema and
/// no others, in its order. Numbers without bounds are bounded by ±(2⁵³ − 1), and have
/// some 15 digits after the point.
///
/// A value is written in one way, that of `serde_json::to_string`: show it to the model in examples. Give strings a
/// `maxLength` (in Unicode scalar values) and arrays a `maxItems`: the schema is what ends a reply, and one that comes to
/// [`max_new_tokens`](Self::max_new_tokens) first is not usable. A letter takes one token as a rule, and four at most.
#[derive(Clone)]
pub struct Writer {
    llama: Llama,
    tokenizer: ChatTokenizer,
    guide: Guide,
    /// How many replies are written at once, at least 1: it bounds the memory, and changes no reply. 8 when new.
    pub batch: usize,
    /// The longest reply, in tokens. 512 when new.
    pub max_new_tokens: usize,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The conversation, which ends with what the model is to reply to: one message at least.
    pub messages: Vec<Message>,
    /// How tokens are chosen of those that the schema allows.
    pub sampling: Sampling,
    /// The reply's own place, such as [`Noise::new`] of its seed: it decides alone what is drawn.
    pub noise: Noise,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The value, or why there is none.
    pub outcome: Outcome,
    /// What the model wrote. A letter that was cut in two is U+FFFD: only where the tokens ran out.
    pub text: String,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// How many of those were read once for all prompts: this number alone depends on the other prompts.
    pub n_shared: usize,
    /// Tokens that were written, without one that ends the reply.
    pub n_written: usize,
}

/// How a reply ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With a value that follows the schema. All zeros in it are the integer 0.
    Complete(Value),
    /// It has as many tokens as it may, or the model no further positions, and the value is not complete.
    OutOfTokens,
}

/// A prompt that can be written for.
struct Ready {
    /// Its place among the prompts.
    index: usize,
    ids: Vec<u32>,
}

impl Writer {
    /// A writer of values that follow `schema`.
    ///
    /// # Errors
    /// When the schema has what is not supported or nothing follows it, or the tokenizer does not fit the model or is of a kind
    /// whose tokens' bytes are not known.
    pub fn new(llama: Llama, tokenizer: ChatTokenizer, schema: &Value) -> Result<Self> {
        let guide = Guide::new(&tokenizer, llama.config().vocab_size, schema)?;
        Ok(Self { llama, tokenizer, guide, batch: 8, max_new_tokens: 512 })
    }

    /// Writes a reply to each prompt, in their order. A reply does not depend on the others, to the bit. What prompts have in
    /// common at their beginning is read once.
    ///
    /// The inner results are errors of one prompt, which is named by its index: no messages, a chat template that refuses them, more
    /// tokens than the model takes, a sampling that means nothing.
    ///
    /// # Errors
    /// When the model is not on the CPU, or of the tensors.
    pub fn write(&self, prompts: &[Prompt]) -> Result<Vec<Result<Written>>> {
        let mut ready = Vec::new();
        let mut written: Vec<Option<Result<Written>>> = Vec::with_capacity(prompts.len());
        for (index, prompt) in prompts.iter().enumerate() {
            let ids = self.ids(prompt);
            written.push(ids.as_ref().err().map(|error| Err(of_prompt(index, error))));
            ready.extend(ids.ok().map(|ids| Ready { index, ids }));
        }
        let shared = self.read_shared(&ready)?;
        let mut writing = Writing::new(self, prompts, ready, shared, &mut written);
        self.llama.generate_all(&mut writing, self.batch.max(1))?;
        let lost = |index| Err(of_prompt(index, "was not replied to"));
        Ok(written.into_iter().enumerate().map(|(index, found)| found.unwrap_or_else(|| lost(index))).collect())
    }

    fn ids(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        if prompt.messages.is_empty() {
            return Err(EngineError::argument("it has no messages"));
        }
        prompt.sampling.check()?;
        let ids = self.tokenizer.encode(&self.tokenizer.render(&prompt.messages, true)?)?;
        let config = self.llama.config();
        if ids.is_empty() {
            return Err(EngineError::argument("it has no tokens"));
        }
        if ids.len() >= config.max_position_embeddings {
            let (n, longest) = (ids.len(), config.max_position_embeddings);
            return Err(EngineError::argument(format!(
                "it has {n} tokens, and the model {longest} for it and the reply"
            )));
        }
        match ids.iter().find(|id| **id as usize >= config.vocab_size) {
            Some(id) => {
                Err(EngineError::argument(format!("its token {id} is not one of the model's {}", config.vocab_size)))
            }
            None => Ok(ids),
        }
    }

    /// Reads the tokens that all prompts begin with, but for the last of each.
    fn read_shared(&self, ready: &[Ready]) -> Result<Sequence> {
        let mut sequence = [Sequence::new(self.llama.config())];
        if let [first, others @ ..] = ready
            && !others.is_empty()
        {
            let same =
                |other: &Ready| first.ids.iter().zip(&other.ids).take_while(|(left, right)| left == right).count();
            let shortest = ready.iter().map(|ready| ready.ids.len() - 1).min().unwrap_or_default();
            let n_shared = others.iter().map(same).min().unwrap_or_default().min(shortest);
            if let Some(shared @ [_, ..]) = first.ids.get(..n_shared) {
                self.llama.extend(&mut sequence, &[self.llama.embed(shared)?])?;
            }
        }
        let [mut sequence] = sequence;
        sequence.freeze();
        Ok(sequence)
    }
}

fn of_prompt(index: usize, error: impl std::fmt::Display) -> EngineError {
    EngineError::argument(format!("prompt {index}: {error}"))
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
