//! Writing replies: several at once, each as if it were alone.

use candle_core::Tensor;
use rayon::prelude::*;

use super::extend::Wanted;
use super::llama::Llama;
use super::sample::Sampling;
use super::sequence::Sequence;
use crate::Result;
use crate::noise::Noise;

/// Once as many tokens of prompts are read together, no further prompt joins: more gain nothing, and take memory.
const TOGETHER: usize = 2048;

/// A reply to be written.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is read first, (T, C), T at least 1: see [`Llama::embed`]. Image tokens and learnable ones are embeddings too.
    pub prompt: Tensor,
    /// What was read before it: [`Sequence::new`], or a shared beginning.
    pub sequence: Sequence,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The reply's own place: it decides alone what is drawn, whatever is beside it in the batch.
    pub noise: Noise,
    /// The longest reply, in tokens.
    pub max_new_tokens: usize,
    /// Tokens that end it.
    pub stop: Vec<u32>,
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its tokens, without the one that ended it.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// What was read: the prompt, and `ids` but for `unread`. To go on from.
    pub sequence: Sequence,
    /// The last of `ids`, when nothing has read them yet.
    pub unread: Vec<u32>,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// This token was to end it.
    Stop(u32),
    /// It has as many tokens as it may have.
    Length,
    /// The model has no further positions.
    Positions,
    /// Who constrains it said so.
    Ended,
    /// No token was allowed.
    NoToken,
}

/// What one who constrains replies says of the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Choose it by the scores.
    Choose,
    /// There is none: the reply is complete.
    End,
}

/// One who has a say in every token. Is given a request's index, the tokens of its reply so far, and the scores of all tokens,
/// which it may change; −∞ forbids one.
pub type Constrain<'a> = dyn FnMut(usize, &[u32], &mut [f32]) -> Result<Next> + 'a;

/// A reply in the making.
struct Row {
    /// Its place among the requests.
    index: usize,
    request: Request,
    ids: Vec<u32>,
    /// What the next token is chosen by, (vocabulary).
    logits: Vec<f32>,
}

/// What there is to be written, and who has a say in it: replies come and go, and only some are in the making at once.
pub(super) trait Work {
    /// The next request; requests are counted as they are asked for, from 0. None when there are no more.
    fn next(&mut self) -> Option<Result<Request>>;

    /// See [`Constrain`].
    fn constrain(&mut self, index: usize, ids: &[u32], logits: &mut [f32]) -> Result<Next>;

    /// Takes what was written.
    fn done(&mut self, index: usize, reply: Reply);
}

/// All of some requests, all at once.
struct All<'a, 'b> {
    requests: std::vec::IntoIter<Request>,
    constrain: &'a mut Constrain<'b>,
    replies: Vec<Option<Reply>>,
}

impl Work for All<'_, '_> {
    fn next(&mut self) -> Option<Result<Request>> {
        self.requests.next().map(Ok)
    }

    fn constrain(&mut self, index: usize, ids: &[u32], logits: &mut [f32]) -> Result<Next> {
        (self.constrain)(index, ids, logits)
    }

    fn done(&mut self, index: usize, reply: Reply) {
        if let Some(place) = self.replies.get_mut(index) {
            *place = Some(reply);
        }
    }
}

impl Llama {
    /// Writes a reply to each request, in their order. A reply does not depend on the others, to the bit.
    ///
    /// # Errors
    /// When the model is not on the CPU, a request does not fit, or of the tensors.
    pub fn generate(&self, requests: Vec<Request>) -> Result<Vec<Reply>> {
        self.generate_constrained(requests, &mut |_, _, _| Ok(Next::Choose))
    }

    /// [`generate`](Self::generate), where `constrain` has a say in every token.
    ///
    /// # Errors
    /// As `generate`, and those of `constrain`.
    pub fn generate_constrained(&self, requests: Vec<Request>, constrain: &mut Constrain<'_>) -> Result<Vec<Reply>> {
        let replies = requests.iter().map(|_| None).collect();
        let mut work = All { requests: requests.into_iter(), constrain, replies };
        self.generate_all(&mut work, usize::MAX)?;
        Ok(work.replies.into_iter().flatten().collect())
    }

    /// Does all `work`, `at_once` replies of it at a time: when one ends, the next is begun.
    ///
    /// # Errors
    /// As `generate`, and those of `work`.
    pub(super) fn generate_all(&self, work: &mut dyn Work, at_once: usize) -> Result<()> {
        let mut rows: Vec<Row> = Vec::new();
        let mut n_begun = 0;
        loop {
            self.begin(work, at_once, &mut n_begun, &mut rows)?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut verdicts = Vec::with_capacity(rows.len());
            for row in &mut rows {
                verdicts.push(work.constrain(row.index, &row.ids, &mut row.logits)?);
            }
            let ends: Vec<Option<Finish>> =
                rows.par_iter_mut().zip(verdicts).map(|(row, next)| self.choose(row, next)).collect();
            let mut going = Vec::with_capacity(rows.len());
            for (row, end) in rows.into_iter().zip(ends) {
                match end {
                    None => going.push(row),
                    Some(finish) => {
                        let (index, reply) = row.reply(finish);
                        work.done(index, reply);
                    }
                }
            }
            rows = going;
            self.read_newest(&mut rows)?;
        }
    }

    /// Reads prompts until there are `at_once` rows.
    fn begin(&self, work: &mut dyn Work, at_once: usize, n_begun: &mut usize, rows: &mut Vec<Row>) -> Result<()> {
        loop {
            let first = rows.len();
            let mut prompts: Vec<Tensor> = Vec::new();
            let mut n_tokens = 0;
            while rows.len() < at_once && n_tokens < TOGETHER {
                let Some(request) = work.next() else { break };
                let request = request?;
                request.sampling.check()?;
                n_tokens += request.prompt.dims().first().copied().unwrap_or(0).max(1);
                prompts.push(request.prompt.clone());
                rows.push(Row { index: *n_begun, request, ids: Vec::new(), logits: Vec::new() });
                *n_begun += 1;
            }
            if prompts.is_empty() {
                return Ok(());
            }
            self.read(rows.get_mut(first..).unwrap_or_default(), &prompts)?;
        }
    }

    fn read_newest(&self, rows: &mut [Row]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let newest: Vec<Tensor> = rows
            .iter()
            .map(|row| self.embed(row.ids.last().map_or(&[], std::slice::from_ref)))
            .collect::<candle_core::Result<_>>()?;
        self.read(rows, &newest)
    }

    /// Reads `embeddings` (T, C) of each row, and scores what may come next.
    fn read(&self, rows: &mut [Row], embeddings: &[Tensor]) -> Result<()> {
        let mut sequences: Vec<&mut Sequence> = rows.iter_mut().map(|row| &mut row.request.sequence).collect();
        let hidden = self.extend_all(&mut sequences, embeddings, Wanted::Last)?;
        let logits = self.logits_of(&hidden)?;
        for (row, logits) in rows.iter_mut().zip(logits.chunks_exact(self.config.vocab_size)) {
            row.logits.clear();
            row.logits.extend_from_slice(logits);
        }
        Ok(())
    }

    /// Chooses a row's next token, or says why there is none.
    fn choose(&self, row: &mut Row, next: Next) -> Option<Finish> {
        if next == Next::End {
            return Some(Finish::Ended);
        }
        if row.ids.len() >= row.request.max_new_tokens {
            return Some(Finish::Length);
        }
        let noise = row.request.noise.at(row.ids.len() as u64);
        let Ok(id) = row.request.sampling.choose(&row.logits, &noise) else { return Some(Finish::NoToken) };
        if row.request.stop.contains(&id) {
            return Some(Finish::Stop(id));
        }
        row.ids.push(id);
        if row.ids.len() >= row.request.max_new_tokens {
            return Some(Finish::Length);
        }
        (row.request.sequence.len() >= self.config.max_position_embeddings).then_some(Finish::Positions)
    }
}

impl Row {
    fn reply(self, finish: Finish) -> (usize, Reply) {
        let is_unread = match finish {
            Finish::Length | Finish::Positions => true,
            Finish::Stop(_) | Finish::Ended | Finish::NoToken => false,
        };
        let unread = if is_unread { self.ids.last().copied().into_iter().collect() } else { Vec::new() };
        (self.index, Reply { ids: self.ids, finish, sequence: self.request.sequence, unread })
    }
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
