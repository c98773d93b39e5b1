//! The assistant, as the command line asks for it.

use cafe_engine::assistant::{Assistant, AssistantReply, AssistantRequest, Base};
use cafe_engine::cafe::{CafeEngine, Family, Role};
use cafe_engine::language::{Message, Sampling};
use cafe_engine::noise::Noise;
use cafe_engine::{Device, Tensor};

use crate::cli::SpeakArgs;
use crate::failure::Failure;
use crate::models::resolve;

/// Loads the assistant of `family`, and checks that it sees what `engine` sees.
pub(super) fn load(args: &SpeakArgs, family: &Family, engine: &CafeEngine) -> Result<Assistant, Failure> {
    let folder = family.folder(Role::Mllm);
    let base = Base::load(&resolve::llm(args.llm.as_deref(), &folder)?, &Device::Cpu)?;
    let assistant = Assistant::load(&folder, base)?;
    assistant.config().check_encoders(engine.encoders().widths(), &folder.join("config.json"))?;
    Ok(assistant)
}

/// The reply to `conversation`, about the picture whose E(x) is `dino` (1, 1 + N, `D_dino`).
pub(super) fn reply(
    assistant: &Assistant,
    args: &SpeakArgs,
    conversation: Vec<Message>,
    dino: &Tensor,
    noise: &Noise,
) -> Result<AssistantReply, Failure> {
    let request = AssistantRequest {
        conversation,
        dino: dino.get(0).map_err(cafe_engine::EngineError::from)?,
        sampling: Sampling { temperature: args.temperature, top_k: args.top_k as usize, top_p: args.top_p },
        noise: noise.clone(),
        max_new_tokens: args.max_new_tokens as usize,
    };
    let replies = assistant.reply(&[request])?;
    replies.into_iter().next().ok_or_else(|| Failure::Internal("the assistant gave no reply".to_owned()))
}
