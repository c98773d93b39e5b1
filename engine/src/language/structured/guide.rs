//! Guided decoding: which tokens may come next, so that what is written follows the schema.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::{StopReason, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::fraction::Fraction;
use super::schema;
use super::vocabulary::token_bytes;
use crate::language::ChatTokenizer;
use crate::{EngineError, Result};

/// What llguidance has room for: it panics beyond.
const MOST_TOKENS: usize = (1 << 24) - 2;
/// The same for the bytes of all tokens, of which each is a node of its trie at most.
const MOST_BYTES: usize = (1 << 22) - 2;

/// A schema for a vocabulary.
#[derive(Clone)]
pub(super) struct Guide {
    /// Before the first token.
    matcher: Matcher,
    /// The bytes of each token.
    vocabulary: Arc<Vec<Vec<u8>>>,
    /// Tokens that begin with a digit.
    digits: Arc<Vec<usize>>,
}

/// A reply in the making, as the schema sees it.
pub(super) struct Guided {
    guide: Guide,
    n_seen: usize,
    fraction: Fraction,
}

impl Guide {
    /// For a model with `n_tokens` scores.
    ///
    /// # Errors
    /// When the schema has what is not supported or nothing follows it, or the tokenizer does not fit.
    pub(super) fn new(tokenizer: &ChatTokenizer, n_tokens: usize, schema: &Value) -> Result<Self> {
        let stop: Vec<u32> = tokenizer.stop_ids().iter().copied().filter(|id| (*id as usize) < n_tokens).collect();
        let Some(first) = stop.first() else {
            return Err(EngineError::argument("the tokenizer names no token of the model's that ends a reply"));
        };
        if n_tokens > MOST_TOKENS {
            return Err(EngineError::argument(format!("a vocabulary of {n_tokens} tokens: {MOST_TOKENS} at most")));
        }
        let vocabulary = token_bytes(tokenizer.inner(), n_tokens, &stop)?;
        let n_bytes: usize = vocabulary.iter().map(Vec::len).sum();
        if n_bytes > MOST_BYTES {
            return Err(EngineError::argument(format!("a vocabulary of {n_bytes} bytes: {MOST_BYTES} at most")));
        }
        // Special tokens are told by a byte that no text has; without a name they are never asked for.
        let trie = TokTrie::from(&TokRxInfo::new(n_tokens as u32, *first), &vocabulary).with_eos_tokens(&stop);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut schema = schema::settled(schema)?;
        if let Value::Object(keys) = &mut schema {
            // One way to write a value, that of `serde_json::to_string`: small models run on in white space where it is free.
            // Without `\u`: no control characters.
            let options = json!({"whitespace_flexible": false, "json_allowed_escapes": "nrbtf\\\""});
            keys.insert("x-guidance".to_owned(), options);
        }
        let begins = |bytes: &Vec<u8>| bytes.first().is_some_and(u8::is_ascii_digit);
        let digits = (0..n_tokens).filter(|id| vocabulary.get(*id).is_some_and(begins)).collect();
        Ok(Self { matcher: compiled(&tokens, schema)?, vocabulary: Arc::new(vocabulary), digits: Arc::new(digits) })
    }

    /// The bytes that `ids` stand for.
    pub(super) fn bytes(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().filter_map(|id| self.vocabulary.get(*id as usize)).flatten().copied().collect()
    }

    /// For a further reply. Nothing is shared with others, so that what is allowed does not depend on them.
    pub(super) fn begin(&self) -> Guided {
        let guide = Self { matcher: self.matcher.deep_clone(), ..self.clone() };
        Guided { guide, n_seen: 0, fraction: Fraction::default() }
    }
}

fn compiled(tokens: &TokEnv, schema: Value) -> Result<Matcher> {
    let refused = |message: String| EngineError::argument(format!("the JSON schema: {message}"));
    let compile = || {
        let mut factory = ParserFactory::new_simple(tokens)?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        factory.create_parser(TopLevelGrammar::from_json_schema(schema))
    };
    // The schema is not trusted, and llguidance catches its own panics from here on only.
    let parser = catch_unwind(AssertUnwindSafe(compile));
    let parser = parser.map_err(|_| refused("it cannot be made a grammar of".to_owned()))?;
    let mut matcher = Matcher::new(parser);
    if let Some(message) = matcher.get_error() {
        return Err(refused(message));
    }
    // The parts that all replies need are made once.
    let mask = matcher.compute_mask().map_err(|error| refused(error.to_string()))?;
    if mask.is_zero() {
        return Err(refused("no token of the model's can begin a value that follows it".to_owned()));
    }
    Ok(matcher)
}

impl Guided {
    /// Takes the tokens of `ids`, which begin with all that was taken before.
    ///
    /// # Errors
    /// When one was not allowed, or the grammar is too much work.
    pub(super) fn take(&mut self, ids: &[u32]) -> Result<()> {
        let new = ids.get(self.n_seen..).unwrap_or_default();
        self.n_seen = ids.len();
        self.guide.matcher.consume_tokens(new).map_err(failed)?;
        let bytes = new.iter().filter_map(|id| self.guide.vocabulary.get(*id as usize)).flatten();
        bytes.for_each(|byte| self.fraction.read(*byte));
        Ok(())
    }

    /// Whether the value is complete, and nothing may follow.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.guide.matcher.stop_reason(), StopReason::NoExtension | StopReason::EndOfSentence)
    }

    /// Makes the scores of tokens that are not allowed −∞. Tokens that end the reply are allowed when the value is complete.
    ///
    /// # Errors
    /// When no token is allowed, or the grammar is too much work.
    pub(super) fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        let mut mask = self.guide.matcher.compute_mask().map_err(failed)?;
        if mask.is_zero() {
            return Err(EngineError::argument(
                "no token of the model's can go on with a value that follows the schema",
            ));
        }
        if self.fraction.is_full() {
            let mut without = mask.clone();
            self.guide.digits.iter().for_each(|id| without.set(*id, false));
            // Where the bounds ask for further digits, they may come.
            if !without.is_zero() {
                mask = without;
            }
        }
        let words = mask.as_slice().iter().copied().chain(std::iter::repeat(0));
        for (logits, word) in logits.chunks_mut(32).zip(words) {
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word & (1 << bit) == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::argument(format!("the reply does not go on: {error}"))
}
