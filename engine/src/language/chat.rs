//! Conversations to tokens, and tokens to texts.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::Tokenizer;

use super::config::TokenIds;
use super::template::{Message, Template, Tokens};
use crate::{EngineError, Result};

/// A language model's tokenizer, with its chat template.
#[derive(Clone, Debug)]
pub struct ChatTokenizer {
    inner: Tokenizer,
    template: Option<Template>,
    tokens: Tokens,
    stop: Vec<u32>,
    folder: PathBuf,
}

/// `tokenizer_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    chat_template: Option<Templates>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    pad_token: Option<Token>,
}

/// A token as the file has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Plain(String),
    Described { content: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// `generation_config.json`, and `config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Generation {
    eos_token_id: Option<TokenIds>,
}

impl ChatTokenizer {
    /// Loads a folder with `tokenizer.json`. The chat template is `chat_template.jinja`, or that of `tokenizer_config.json`, if
    /// there is one; the tokens that end a reply are those of `generation_config.json`, `config.json` or
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// When a file is missing or wrong.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let text = std::fs::read(&path).map_err(|error| EngineError::io(&path, error))?;
        let refused = |error: tokenizers::Error| EngineError::config(&path, error.to_string());
        let mut inner = Tokenizer::from_bytes(text).map_err(refused)?;
        inner.with_truncation(None).map_err(refused)?;
        inner.with_padding(None);

        let config: Config = optional(&folder.join("tokenizer_config.json"))?;
        let template = read_template(folder, config.chat_template)?;
        let named = [
            ("bos_token", config.bos_token),
            ("eos_token", config.eos_token),
            ("unk_token", config.unk_token),
            ("pad_token", config.pad_token),
        ];
        let tokens: Tokens = named
            .into_iter()
            .filter_map(|(name, token)| match token? {
                Token::Plain(content) | Token::Described { content } => Some((name, content)),
            })
            .collect();
        let mut stop = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            let found: Generation = optional(&folder.join(name))?;
            stop.extend(found.eos_token_id.as_ref().map(TokenIds::to_vec).unwrap_or_default());
        }
        let end = tokens.iter().find(|(name, _)| *name == "eos_token");
        stop.extend(end.and_then(|(_, token)| inner.token_to_id(token)));
        stop.sort_unstable();
        stop.dedup();
        Ok(Self { inner, template, tokens, stop, folder: folder.to_owned() })
    }

    pub(super) fn inner(&self) -> &Tokenizer {
        &self.inner
    }

    /// The tokens that end a reply, in order.
    #[must_use]
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop
    }

    /// The token called `content`.
    #[must_use]
    pub fn id(&self, content: &str) -> Option<u32> {
        self.inner.token_to_id(content)
    }

    /// What the token is called in the vocabulary: spaces and other bytes stand for themselves in the model's own way.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// How many tokens there are, special ones among them.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The ids of a text, without what begins or ends texts. Special tokens in it are found: what a user wrote must not have
    /// any, see [`render`](Self::render).
    ///
    /// # Errors
    /// When the text cannot be taken apart.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encoded(text, false)
    }

    /// The ids of a text, with what begins and ends texts: Llama's `<s>`.
    ///
    /// # Errors
    /// When the text cannot be taken apart.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        self.encoded(text, true)
    }

    /// [`encode`](Self::encode), and where in the text each token ends, in bytes.
    ///
    /// # Errors
    /// When the text cannot be taken apart.
    pub fn encode_with_ends(&self, text: &str) -> Result<Vec<(u32, usize)>> {
        let encoded = self.inner.encode(text, false).map_err(|error| EngineError::argument(error.to_string()))?;
        let ends = encoded.get_offsets().iter().map(|(_, end)| *end);
        Ok(encoded.get_ids().iter().copied().zip(ends).collect())
    }

    fn encoded(&self, text: &str, is_whole: bool) -> Result<Vec<u32>> {
        let encoded = self.inner.encode_fast(text, is_whole);
        Ok(encoded.map_err(|error| EngineError::argument(error.to_string()))?.get_ids().to_vec())
    }

    /// The text of `ids`, without special tokens. Bytes that are no UTF-8, as of a letter cut in two, become U+FFFD.
    ///
    /// # Errors
    /// When the decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|error| EngineError::argument(error.to_string()))
    }

    /// The text of a conversation by the model's template, as `apply_chat_template(tokenize=False)` of HF transformers makes it;
    /// with what begins a reply when `is_prompt`. [`encode`](Self::encode) takes it apart: what begins texts is in it already.
    ///
    /// Messages are not searched for special tokens: one who writes `<|im_end|>` ends the turn, as with the reference.
    ///
    /// # Errors
    /// When there is no template, or it refuses the conversation.
    pub fn render(&self, messages: &[Message], is_prompt: bool) -> Result<String> {
        let folder = self.folder.display();
        let Some(template) = &self.template else {
            return Err(EngineError::argument(format!("{folder}: the tokenizer has no chat template")));
        };
        let refused = |message: String| EngineError::argument(format!("{folder}: the chat template: {message}"));
        template.render(messages, is_prompt, &self.tokens).map_err(refused)
    }
}

fn optional<T: serde::de::DeserializeOwned + Default>(path: &Path) -> Result<T> {
    if path.is_file() { crate::config::read(path) } else { Ok(T::default()) }
}

fn read_template(folder: &Path, templates: Option<Templates>) -> Result<Option<Template>> {
    let path = folder.join("chat_template.jinja");
    if path.is_file() {
        let source = std::fs::read_to_string(&path).map_err(|error| EngineError::io(&path, error))?;
        return Template::new(&source).map(Some).map_err(|message| EngineError::config(path, message));
    }
    let source = match templates {
        None => return Ok(None),
        Some(Templates::One(source)) => source,
        Some(Templates::Named(all)) => match all.into_iter().find(|named| named.name == "default") {
            Some(named) => named.template,
            None => return Ok(None),
        },
    };
    Template::new(&source).map(Some).map_err(|message| {
        EngineError::config(folder.join("tokenizer_config.json"), format!("key `chat_template`: {message}"))
    })
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
