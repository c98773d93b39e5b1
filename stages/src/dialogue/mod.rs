//! `dialogue`: a language model writes what the user says (y) and what the assistant replies (y~) for accepted candidates, so
//! that quadruplets (x, x~, y, y~) come to be.
//!
//! A candidate is told to the model in words: its class, and the caption of its pair. Each dialogue has a speech act (a
//! directive, a question, a vague wish), drawn from the candidate's id. What the model replies is read, checked ([`check`]),
//! and asked for again with another seed and the mistake named, a few times; a candidate for which no dialogue could be had is
//! quarantined with all that was tried.
//!
//! Two backends: a server with OpenAI's interface ([`openai`]), and a model that runs in this program ([`embedded`]). Every
//! reply is stored under the digest of the request that it answers ([`replies`]) before anything is done with it: what was paid
//! for once is not asked for again, whether the run was killed, the server died, or a threshold was lowered and the shards
//! are cut anew.

mod check;
mod compile;
mod config;
mod converse;
mod embedded;
mod join;
mod openai;
mod parse;
mod replies;
mod template;
mod text;
mod work;
mod written;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{BackendConfig, DialogueConfig, LimitsConfig, SpeechAct, Structured};

use crate::models::ModelStore;

/// The stage kind.
#[derive(Clone)]
pub struct DialogueKind {
    models: Arc<dyn ModelStore>,
}

impl DialogueKind {
    /// The kind, whose embedded models are found by `models`.
    #[must_use]
    pub fn new(models: Arc<dyn ModelStore>) -> Self {
        Self { models }
    }
}

impl StageKind for DialogueKind {
    fn kind(&self) -> &'static str {
        "dialogue"
    }

    fn about(&self) -> &'static str {
        "has a language model write what the user says and what the assistant replies"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(DialogueConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Ok(vec![compile::compile(stage.config()?, self.models.as_ref(), context)?])
    }
}
