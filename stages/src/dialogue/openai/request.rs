//! What is sent.

use cafe_pipeline::digest::{Digest, Hasher};
use serde_json::{Value, json};

use super::super::config::{DialogueConfig, Structured};
use super::super::converse::Question;
use super::super::template;

/// What is the same for all requests.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    pub(super) model: String,
    temperature: f64,
    pub(super) max_tokens: u32,
    schema: Value,
    pub(super) structured: Structured,
}

/// How a server wants to be spoken to, as far as that was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Whether the reply is bound to the schema.
    pub(super) has_schema: bool,
    /// Whether the length of a reply is called `max_completion_tokens`, as OpenAI's newer models want it.
    pub(super) counts_completion: bool,
}

impl Sampling {
    pub(super) fn new(model: &str, config: &DialogueConfig) -> Self {
        Self {
            model: model.to_owned(),
            temperature: config.temperature,
            max_tokens: config.max_tokens,
            schema: template::schema(&config.limits),
            structured: config.structured,
        }
    }

    /// The dialect that is tried first.
    pub(super) fn dialect(&self) -> Dialect {
        Dialect { has_schema: self.structured != Structured::None, counts_completion: false }
    }

    /// The request's body.
    pub(super) fn body(&self, question: &Question, dialect: Dialect) -> Value {
        let message = |turn: &template::Turn| json!({ "role": turn.role, "content": turn.content });
        let mut body = json!({
            "model": self.model,
            "messages": question.turns.iter().map(message).collect::<Vec<Value>>(),
            "temperature": self.temperature,
            "seed": question.seed,
        });
        let length = if dialect.counts_completion { "max_completion_tokens" } else { "max_tokens" };
        if let Some(body) = body.as_object_mut() {
            body.insert(length.to_owned(), json!(self.max_tokens));
            if dialect.has_schema {
                let schema = json!({ "name": "dialogue", "strict": true, "schema": self.schema });
                body.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": schema }));
            }
        }
        body
    }
}

/// The digest of a whole request, model and sampling included: its idempotency key, and the name of its reply.
pub(super) fn digest(body: &Value) -> Digest {
    Hasher::new("dialogue-request/openai/v1").json("body", body).digest()
}
