//! The keys of a `dialogue` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name of an environment variable.
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Keys of a `dialogue` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialogueConfig {
    /// The language model, and where it runs.
    pub backend: BackendConfig,
    /// How many dialogues each accepted candidate gets.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub per_candidate: u32,
    /// How the user may speak; drawn for each dialogue, all alike.
    #[serde(default = "SpeechAct::all")]
    #[schemars(length(min = 1))]
    pub speech_acts: Vec<SpeechAct>,
    /// Whether only candidates that every filter upstream accepted get dialogues. `false` takes all, and needs no filter.
    #[serde(default = "yes")]
    pub filtered: bool,
    /// How varied replies are; 0 takes the likeliest words.
    #[serde(default = "default_temperature")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// The longest reply, in tokens.
    #[serde(default = "default_max_tokens")]
    #[schemars(range(min = 32, max = 8192))]
    pub max_tokens: u32,
    /// How often the model is asked for a dialogue until its reply is usable.
    #[serde(default = "usual_tries")]
    #[schemars(range(min = 1, max = 20))]
    pub tries: u32,
    /// Whether the server is to bind replies to a JSON schema. An embedded model always is.
    #[serde(default)]
    pub structured: Structured,
    /// How many requests are on their way at once. A busy server gets fewer.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
    /// How long one request may take, in seconds.
    #[serde(default = "default_deadline_secs")]
    #[schemars(range(min = 1, max = 3600))]
    pub deadline_secs: u32,
    /// How long a server that answers nothing is waited for, in seconds; then the stage waits for another run.
    #[serde(default = "default_patience_secs")]
    #[schemars(range(min = 1, max = 86400))]
    pub patience_secs: u32,
    /// What a usable reply keeps to.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// A language model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum BackendConfig {
    /// A server with OpenAI's chat interface: vLLM, TGI, llama.cpp, Ollama, and many services.
    Openai {
        /// The address up to `/chat/completions`, for example `http://localhost:8000/v1`.
        base_url: String,
        /// What the server calls the model.
        #[serde(default = "default_model")]
        model: String,
        /// The environment variable that has the key; nothing is sent without one. The key stands nowhere else.
        #[serde(default)]
        #[schemars(regex(pattern = VARIABLE))]
        api_key_env: Option<String>,
    },
    /// A model of this program: `cafe-data models list` shows which there are.
    Embedded {
        /// Its name, or a folder.
        #[serde(default = "default_embedded")]
        model: String,
    },
}

/// How the user speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpeechAct {
    /// "Put this dog on a beach."
    Directive,
    /// "Could you show this dog on a beach?"
    Question,
    /// "I miss our summers with this dog."
    VagueWish,
}

impl SpeechAct {
    fn all() -> Vec<Self> {
        vec![Self::Directive, Self::Question, Self::VagueWish]
    }

    /// The name stored in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directive => "directive",
            Self::Question => "question",
            Self::VagueWish => "vague_wish",
        }
    }
}

/// Whether a server binds replies to a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// Where it can.
    #[default]
    Auto,
    /// It must: `response_format` with `json_schema`.
    JsonSchema,
    /// It is not asked to.
    None,
}

/// What a usable reply keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The most letters of what the user says.
    #[schemars(range(min = 10, max = 10_000))]
    pub user_chars: u32,
    /// The most letters of what the assistant says.
    #[schemars(range(min = 10, max = 10_000))]
    pub assistant_chars: u32,
    /// What share of the caption's telling words a vague wish may use.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub vague_overlap: f64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { user_chars: 300, assistant_chars: 600, vague_overlap: 0.3 }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn default_model() -> String {
    "meta-llama/Llama-2-70b-chat-hf".to_owned()
}

fn default_embedded() -> String {
    "smollm2-135m".to_owned()
}

fn default_temperature() -> f64 {
    0.8
}

fn default_max_tokens() -> u32 {
    256
}

fn usual_tries() -> u32 {
    4
}

fn default_concurrency() -> u32 {
    32
}

fn default_deadline_secs() -> u32 {
    120
}

fn default_patience_secs() -> u32 {
    300
}
