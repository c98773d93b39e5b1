//! Language: Llama, its tokenizer and its chat template; M of the CAFE paper, which answers, and writes what is to be drawn.
//!
//! - [`Llama::forward`] is differentiable in the embeddings that enter: V's image tokens and a learnable token are trained
//!   through it.
//! - [`Llama::extend`] goes on from the keys and values that a [`Sequence`] keeps, several sequences at once.
//! - [`Llama::generate`] writes replies to many prompts at once, each as if it were alone.
//! - [`Writer`] has it write JSON that follows a schema.

mod block;
mod chat;
mod config;
mod extend;
mod generate;
pub mod gguf;
mod llama;
#[cfg(test)]
mod oracle_tests;
mod sample;
mod sequence;
mod structured;
mod template;

pub use chat::ChatTokenizer;
pub use config::{LlamaConfig, RopeParameters, TokenIds};
pub use generate::{Constrain, Finish, Next, Reply, Request};
pub use llama::Llama;
pub use sample::Sampling;
pub use sequence::Sequence;
pub use structured::{Outcome, Prompt, Writer, Written};
pub use template::Message;
