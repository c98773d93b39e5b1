//! The language model, and what joins it to pictures.

use std::path::Path;

use candle_core::Tensor;

use super::{Check, Relatives, check, conditions_of, noise, sound};
use crate::Device;
use crate::assistant::{Adapter, AdapterConfig, Assistant, AssistantRequest, Base};
use crate::error::{EngineError, Result};
use crate::language::{ChatTokenizer, Llama, Message, Sampling};

/// A reply is cut after so many tokens.
const N_TOKENS: usize = 8;

pub(super) fn language(folder: &Path) -> Vec<Check> {
    vec![check("logits", || {
        let llama = Llama::load(folder, &Device::Cpu)?;
        let tokenizer = ChatTokenizer::load(folder)?;
        let prompt = tokenizer.encode(&tokenizer.render(&[Message::new("user", "Hello.")], true)?)?;
        let embeddings = llama.embed(&prompt)?.unsqueeze(0)?; // (1, T, C)
        sound(&llama.logits(&llama.forward(&embeddings, None)?)?)
    })]
}

pub(super) fn mllm(folder: &Path, relatives: &Relatives) -> Vec<Check> {
    let base = folder.join("base");
    if !base.is_dir() {
        // The language model may be a folder of its own: then it is verified as one.
        return vec![check("projections", || projections(folder, relatives))];
    }
    let mut checks: Vec<Check> = language(&base).into_iter().map(|check| Check { what: "base", ..check }).collect();
    checks.push(check("reply", || reply(folder, &base, relatives)));
    checks
}

/// What the language model would be shown, and what would be made of one of its states.
fn projections(folder: &Path, relatives: &Relatives) -> Result<String> {
    let adapter = Adapter::load(folder, &Device::Cpu)?;
    let dino = seen(adapter.config(), folder, relatives)?; // (1, 1 + N, D_dino)
    let shown = sound(&adapter.image_tokens(&dino)?)?;
    Ok(format!("{shown}; H(s) {}", sound(&adapter.project(&adapter.token().unsqueeze(0)?)?)?))
}

/// E of a small picture, by the family's encoders if it has some: they must be those of the training.
fn seen(config: &AdapterConfig, folder: &Path, relatives: &Relatives) -> Result<Tensor> {
    let encoders = relatives.encoders()?;
    if let Some(encoders) = &encoders {
        config.check_encoders(encoders.widths(), &folder.join("config.json"))?;
    }
    let n_tokens = 1 + (2 * config.image_pool).pow(2);
    let widths = (config.projection_dim, config.vision_hidden_size);
    Ok(conditions_of(encoders.as_ref(), n_tokens, widths)?.1)
}

/// Some words about a picture, and H(s).
fn reply(folder: &Path, base: &Path, relatives: &Relatives) -> Result<String> {
    let assistant = Assistant::load(folder, Base::load(base, &Device::Cpu)?)?;
    let dino = seen(assistant.config(), folder, relatives)?; // (1, 1 + N, D_dino)
    let request = AssistantRequest {
        conversation: vec![Message::new("user", "Put it on the beach.")],
        dino: dino.get(0)?,
        sampling: Sampling::default(),
        noise: noise("reply"),
        max_new_tokens: N_TOKENS,
    };
    let reply = assistant.reply(&[request])?.into_iter().next();
    let reply = reply.ok_or_else(|| EngineError::argument("the assistant gave no reply"))?;
    Ok(format!("{} tokens; H(s) {}", reply.n_reply_tokens, sound(&reply.condition)?))
}
