//! Candidates by the whole of CAFE: the assistant sees the reference and is told a pair's words, and what it understands, H(s), is
//! drawn in the place of F(w): x~ = G(E(x), αH(s) + (1−α)F(x)).

use std::path::PathBuf;

use cafe_engine::assistant::{Assistant, AssistantReply, AssistantRequest, Base};
use cafe_engine::cafe::{CafeEngine, Family, Role, SamplerSettings, mix};
use cafe_engine::language::{Finish, Message, Sampling};
use cafe_engine::noise::{Guidance, Noise};
use cafe_engine::unet::CafeConditioning;
use cafe_engine::{Device, EngineError, Tensor, op};
use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{Cost, WorkError};
use image::RgbImage;

use super::candidates::{Said, Sample};
use super::recent::Recent;
use super::seen::Seen;
use crate::models::{Loaded, work_error};

/// CAFE with its language half.
pub(super) struct CafeAssistant {
    pub(super) models: Models,
    /// Shares of H(s).
    pub(super) alphas: Vec<f64>,
    pub(super) reply: ReplySettings,
    pub(super) guidance: Guidance,
    pub(super) sampling: SamplerSettings,
    pub(super) loaded: Loaded<Whole>,
    pub(super) seen: Recent<Seen>,
}

/// Where the models are.
pub(super) struct Models {
    pub(super) family: PathBuf,
    /// The language model that `mllm` was trained with.
    pub(super) llm: PathBuf,
}

/// How the assistant replies.
#[derive(Clone, Debug)]
pub(super) struct ReplySettings {
    pub(super) sampling: Sampling,
    pub(super) max_tokens: usize,
}

/// E, F, G and M.
pub(super) struct Whole {
    engine: CafeEngine,
    assistant: Assistant,
}

impl Models {
    fn load(&self) -> Result<Whole, EngineError> {
        let family = Family::open(&self.family)?;
        let engine = CafeEngine::load(&family, &Device::Cpu)?;
        let folder = family.folder(Role::Mllm);
        let assistant = Assistant::load(&folder, Base::load(&self.llm, &Device::Cpu)?)?;
        assistant.config().check_encoders(engine.encoders().widths(), &folder.join("config.json"))?;
        Ok(Whole { engine, assistant })
    }
}

impl CafeAssistant {
    /// An image for each α and sample, in this order, and the tokens that were read and written for them. `seed` is the row's own; a
    /// sample's reply and its noise are those of `cafe-data generate --assistant` with the sample's seed. In a sweep of α nothing
    /// else changes.
    pub(super) fn make(
        &self,
        seed: Seed,
        samples: u32,
        (reference_id, reference): (&str, &RgbImage),
        told: &str,
    ) -> Result<(Vec<Sample>, Cost), WorkError> {
        let Whole { engine, assistant } = self.loaded.get(|| self.models.load())?;
        let drawn: Vec<u64> = (0..samples).map(|index| seed.child(&index.to_string()).0).collect();
        let made = op::on_cores(|| -> Result<(Vec<Sample>, Cost), EngineError> {
            let seen = self.seen.of(engine.encoders(), reference_id, reference)?;
            let replies = self.replies(assistant, &seen.dino, told, &drawn)?;
            let cost = cost(&replies);
            // Without chance there is one reply for all samples.
            let replies = replies.iter().cycle().take(drawn.len());
            let asked: Vec<(u32, u64, &AssistantReply)> =
                (0..).zip(&drawn).zip(replies).map(|((index, seed), reply)| (index, *seed, reply)).collect();
            let places: Vec<(f64, (u32, u64, &AssistantReply))> =
                self.alphas.iter().flat_map(|alpha| asked.iter().map(move |asked| (*alpha, *asked))).collect();
            let conditions: Vec<Tensor> = places
                .iter()
                .map(|(alpha, (_, _, reply))| mix(&reply.condition.unsqueeze(0)?, &seen.clip, *alpha))
                .collect::<Result<_, _>>()?;
            let conditions = CafeConditioning {
                dino: Tensor::cat(&vec![&seen.dino; conditions.len()], 0)?, // (B, 1 + N, D_dino)
                clip: Tensor::cat(&conditions, 0)?,                         // (B, D_clip)
            };
            let seeds: Vec<u64> = places.iter().map(|(_, (_, seed, _))| *seed).collect();
            let images = engine.generate(&conditions, &seeds, &self.guidance, &self.sampling, &|_, _| {})?;
            let sample = |((alpha, (index, seed, reply)), image)| {
                let said = Some(said(told, reply));
                Sample { alpha: Some(alpha), index, seed, image, said }
            };
            Ok((places.into_iter().zip(images).map(sample).collect(), cost))
        });
        made.map_err(work_error)
    }

    /// A reply for each seed, or one for all where seeds decide nothing. `dino` is (1, 1 + N, D_dino).
    fn replies(
        &self,
        assistant: &Assistant,
        dino: &Tensor,
        told: &str,
        seeds: &[u64],
    ) -> Result<Vec<AssistantReply>, EngineError> {
        let sampling = &self.reply.sampling;
        let is_greedy = sampling.temperature == 0.0 || sampling.top_k == 1;
        let dino = dino.get(0)?;
        let request = |seed: &u64| AssistantRequest {
            conversation: vec![Message::new("user", told)],
            dino: dino.clone(),
            sampling: sampling.clone(),
            // As in the first round of a chat.
            noise: Noise::new(*seed).of("reply").at(0),
            max_new_tokens: self.reply.max_tokens,
        };
        let n_asked = if is_greedy { 1 } else { seeds.len() };
        assistant.reply(&seeds.iter().take(n_asked).map(request).collect::<Vec<_>>())
    }
}

fn said(told: &str, reply: &AssistantReply) -> Said {
    Said {
        told: told.to_owned(),
        reply: reply.text.clone(),
        is_cut: !matches!(reply.finish, Finish::Stop(_)),
        prompt_tokens: reply.n_prompt_tokens as u64,
        completion_tokens: reply.n_reply_tokens as u64,
    }
}

fn cost(replies: &[AssistantReply]) -> Cost {
    let sum = |of: fn(&AssistantReply) -> usize| replies.iter().map(|reply| of(reply) as u64).sum::<u64>();
    Cost {
        prompt_tokens: sum(|reply| reply.n_prompt_tokens),
        completion_tokens: sum(|reply| reply.n_reply_tokens),
        ..Cost::default()
    }
}

#[cfg(test)]
#[path = "assistant_tests.rs"]
mod tests;
