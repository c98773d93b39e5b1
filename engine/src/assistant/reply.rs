//! What the assistant says, and the condition that its words are drawn by.

use candle_core::Tensor;

use super::config::TokenAfter;
use super::model::Assistant;
use super::prompt::Prompt;
use crate::error::{EngineError, Result};
use crate::language::{Finish, Message, Reply, Request, Sampling, Sequence};
use crate::noise::Noise;

/// A conversation that waits for a reply.
#[derive(Clone, Debug)]
pub struct AssistantRequest {
    /// What was said so far, the user last.
    pub conversation: Vec<Message>,
    /// E(x), (1 + N, `D_dino`), of the picture that was first shown.
    pub dino: Tensor,
    /// How words are chosen.
    pub sampling: Sampling,
    /// The reply's own place: it decides alone what is drawn.
    pub noise: Noise,
    /// The longest reply, in tokens.
    pub max_new_tokens: usize,
}

/// The reply.
#[derive(Clone, Debug)]
pub struct AssistantReply {
    /// y~: what is said.
    pub text: String,
    /// H(s), (`D_clip`), as G takes it in place of F(x~).
    pub condition: Tensor,
    /// Why the text ended.
    pub finish: Finish,
    /// Tokens that were read for it, the picture's among them.
    pub n_prompt_tokens: usize,
    /// Tokens that were written.
    pub n_reply_tokens: usize,
}

/// What the language model has read and written.
struct Written {
    reply: Reply,
    /// s, (C), where the learnable token stands before the reply.
    state: Option<Tensor>,
    n_prompt_tokens: usize,
}

impl Assistant {
    /// Replies to each of `requests`, in their order. A reply does not depend on the others, to the bit. No gradients.
    ///
    /// # Errors
    /// When a conversation cannot be put into the chat template or is longer than the language model reads, the model is not on the
    /// CPU, or of the tensors.
    pub fn reply(&self, requests: &[AssistantRequest]) -> Result<Vec<AssistantReply>> {
        let prompts = requests.iter().map(|request| self.prompt(&request.conversation));
        let prompts = prompts.collect::<Result<Vec<Prompt>>>()?;
        let embeddings = prompts.iter().zip(requests).map(|(prompt, request)| self.read(prompt, &request.dino));
        let embeddings = embeddings.collect::<Result<Vec<Tensor>>>()?;
        let written = match self.config().token_after {
            TokenAfter::Prompt => self.write_after_token(&embeddings, requests)?,
            TokenAfter::Response => self.write(&embeddings, requests)?,
        };
        written.into_iter().map(|written| self.finished(written)).collect()
    }

    /// Embeddings of a prompt, (T, C).
    fn read(&self, prompt: &Prompt, dino: &Tensor) -> Result<Tensor> {
        let image = self.adapter.image_tokens(&dino.unsqueeze(0)?)?.squeeze(0)?; // (N, C)
        let embeddings = self.embed_prompt(prompt, &image)?;
        let (n_tokens, n_positions) = (embeddings.dim(0)?, self.llama.config().max_position_embeddings);
        if n_tokens + 2 > n_positions {
            let message = format!(
                "the conversation has {n_tokens} tokens with its picture: the language model reads {n_positions}"
            );
            return Err(EngineError::argument(message));
        }
        Ok(embeddings)
    }

    fn request(&self, prompt: Tensor, sequence: Sequence, request: &AssistantRequest) -> Request {
        // Two positions are kept: for what ends the reply, and for the learnable token.
        let n_read = sequence.len() + prompt.dims().first().copied().unwrap_or_default();
        let n_free = self.llama.config().max_position_embeddings.saturating_sub(n_read + 2);
        Request {
            prompt,
            sequence,
            sampling: request.sampling.clone(),
            noise: request.noise.clone(),
            max_new_tokens: request.max_new_tokens.min(n_free),
            stop: self.tokenizer.stop_ids().to_vec(),
        }
    }

    fn write(&self, embeddings: &[Tensor], requests: &[AssistantRequest]) -> Result<Vec<Written>> {
        let empty = Sequence::new(self.llama.config());
        let wanted = embeddings.iter().zip(requests);
        let wanted = wanted.map(|(prompt, request)| self.request(prompt.clone(), empty.clone(), request)).collect();
        let n_tokens = embeddings.iter().map(|prompt| prompt.dim(0));
        let replies = self.llama.generate(wanted)?;
        let written = replies.into_iter().zip(n_tokens);
        written.map(|(reply, n)| Ok(Written { reply, state: None, n_prompt_tokens: n? })).collect()
    }

    /// The learnable token is read by itself, for its state; and once more by who writes, for what follows it.
    fn write_after_token(&self, embeddings: &[Tensor], requests: &[AssistantRequest]) -> Result<Vec<Written>> {
        let mut sequences = vec![Sequence::new(self.llama.config()); embeddings.len()];
        let (mut prompts, mut tokens) = (Vec::new(), Vec::new());
        for embeddings in embeddings {
            let n_before = embeddings.dim(0)? - 1;
            prompts.push(embeddings.narrow(0, 0, n_before)?.contiguous()?);
            tokens.push(embeddings.narrow(0, n_before, 1)?.contiguous()?); // (1, C)
        }
        self.llama.extend(&mut sequences, &prompts)?;
        sequences.iter_mut().for_each(Sequence::freeze);
        let states = self.llama.extend(&mut sequences.clone(), &tokens)?; // (1, C) each
        let wanted = tokens.into_iter().zip(sequences).zip(requests);
        let wanted = wanted.map(|((token, sequence), request)| self.request(token, sequence, request)).collect();
        let written = self.llama.generate(wanted)?.into_iter().zip(states).zip(embeddings);
        written
            .map(|((reply, state), embeddings)| {
                Ok(Written { reply, state: Some(state.squeeze(0)?), n_prompt_tokens: embeddings.dim(0)? })
            })
            .collect()
    }

    fn finished(&self, written: Written) -> Result<AssistantReply> {
        let Written { reply, state, n_prompt_tokens } = written;
        let n_reply_tokens = reply.ids.len();
        let state = match state {
            Some(state) => state,
            None => self.state_after(&reply)?,
        };
        let condition = self.adapter.condition(&state.unsqueeze(0)?)?.squeeze(0)?;
        let text = self.tokenizer.decode(&reply.ids)?.trim().to_owned();
        Ok(AssistantReply { text, condition, finish: reply.finish, n_prompt_tokens, n_reply_tokens })
    }

    /// s at the learnable token after a reply, (C). A reply that was too long is ended first: training saw no other.
    fn state_after(&self, reply: &Reply) -> Result<Tensor> {
        let mut unread = reply.unread.clone();
        unread.push(match reply.finish {
            Finish::Stop(id) => id,
            _ => self.end,
        });
        let token = self.adapter.token().unsqueeze(0)?;
        let rest = Tensor::cat(&[self.llama.embed(&unread)?, token], 0)?; // (unread + 1, C)
        let states = self.llama.extend(&mut [reply.sequence.clone()], &[rest])?;
        let states = states.into_iter().next();
        let states = states.ok_or_else(|| EngineError::argument("the language model gave no state"))?; // (unread + 1, C)
        Ok(states.get(states.dim(0)? - 1)?)
    }
}
