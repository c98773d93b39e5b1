//! The assistant: M of the paper, a frozen Llama that sees a picture, and says what is to be drawn.
//!
//! A sentence becomes pixels so: the picture's tokens E(x) go through V into the Llama's embeddings, between the words of the
//! conversation ([`Prompt`]); the Llama writes the reply y~; the state s at one learnable token goes through H and becomes
//! F's embedding of the picture to be drawn; G draws it from E(x) and H(s) ([`crate::cafe`]). V, H and the token are the
//! [`Adapter`], trained by Eq. 2 ([`assistant_loss`]); the Llama is as it came.

mod adapter;
mod config;
mod loss;
mod model;
mod prompt;
mod reply;
mod trainer;

pub use adapter::Adapter;
pub use config::{AdapterConfig, Distance, TokenAfter};
pub use loss::{AssistantLoss, CONDITION_WEIGHT, DialogueBatch, assistant_loss};
pub use model::{Assistant, Base};
pub use prompt::{Dialogue, Prompt};
pub use reply::{AssistantReply, AssistantRequest};
pub use trainer::{AssistantSettings, AssistantTrainer};

#[cfg(test)]
mod tests;
