//! Special tokens: which they are, and how they are found in a text.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokenizers::{AddedToken, Tokenizer};

use crate::{EngineError, Result};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const LENGTH: usize = 77;
/// What is longer is transformers' way to say "no limit".
const LONGEST: f64 = 65536.0;

/// The special tokens of a folder.
pub(super) struct SpecialTokens {
    pub(super) start: AddedToken,
    pub(super) end: AddedToken,
    pub(super) unknown: AddedToken,
    pub(super) padding: AddedToken,
    /// Ids in a padded text.
    pub(super) length: usize,
    /// Further tokens that texts are searched for, by id.
    added: BTreeMap<u32, AddedToken>,
}

/// A token as the files have it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Token {
    Plain(String),
    Described(Described),
}

#[derive(Clone, Deserialize)]
struct Described {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default = "yes")]
    special: bool,
}

fn yes() -> bool {
    true
}

/// `tokenizer_config.json`; `special_tokens_map.json` has the same keys.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    pad_token: Option<Token>,
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<BTreeMap<String, Described>>,
}

/// Reads the folder's special tokens. What `special_tokens_map.json` says counts for more, unless `tokenizer_config.json` is
/// of the later kind that lists all added tokens; what neither says is CLIP's.
pub(super) fn read(folder: &Path) -> Result<SpecialTokens> {
    let optional = |name: &str| {
        let path = folder.join(name);
        if path.is_file() { crate::config::read::<Config>(&path) } else { Ok(Config::default()) }
    };
    let config = optional("tokenizer_config.json")?;
    let map =
        if config.added_tokens_decoder.is_none() { optional("special_tokens_map.json")? } else { Config::default() };
    let path = folder.join("tokenizer_config.json");
    let mut added: BTreeMap<u32, AddedToken> = BTreeMap::new();
    for (id, token) in config.added_tokens_decoder.unwrap_or_default() {
        let id = id.parse().map_err(|_| {
            EngineError::config(&path, format!("key `added_tokens_decoder` has `{id}`, which is not an id"))
        })?;
        added.insert(id, Token::Described(token).into());
    }
    let token = |map: Option<Token>, config: Option<Token>, default: &str| {
        let token: AddedToken = map.or(config).unwrap_or_else(|| Token::Plain(default.to_owned())).into();
        let known = added.values().find(|known| known.content == token.content);
        let token = known.cloned().unwrap_or(token);
        AddedToken { special: true, ..token }
    };
    let length = match config.model_max_length {
        Some(length) if (2.0..=LONGEST).contains(&length) => length as usize,
        Some(length) if length < 2.0 => {
            return Err(crate::config::unsupported(&path, "model_max_length", length, "2 or more: start and end"));
        }
        _ => LENGTH,
    };
    Ok(SpecialTokens {
        start: token(map.bos_token, config.bos_token, START),
        end: token(map.eos_token, config.eos_token, END),
        unknown: token(map.unk_token, config.unk_token, END),
        padding: token(map.pad_token, config.pad_token, END),
        length,
        added,
    })
}

impl From<Token> for AddedToken {
    fn from(token: Token) -> Self {
        match token {
            Token::Plain(content) => Self::from(content, true),
            Token::Described(token) => Self {
                content: token.content,
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                normalized: token.normalized,
                special: token.special,
            },
        }
    }
}

impl SpecialTokens {
    /// Lets `tokenizer`, whose file is `path`, find the tokens in texts. SD 2's padding is "!", and so is every "!" in a
    /// text: the reference does the same.
    pub(super) fn register(self, tokenizer: &mut Tokenizer, path: &Path) -> Result<()> {
        let mut known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let refused = |message: String| EngineError::config(path, message);
        for (id, token) in self.added {
            if !known.iter().any(|other| other.content == token.content) {
                let content = token.content.clone();
                known.push(token.clone());
                tokenizer.add_tokens([token]).map_err(|error| refused(error.to_string()))?;
                let found = tokenizer.token_to_id(&content);
                if found != Some(id) {
                    return Err(refused(format!("gives the added token `{content}` the id {found:?}, not {id}")));
                }
            }
        }
        // The same token under another description counts anew, as transformers has it, but a file's own list is final.
        let listed: Vec<String> = known.into_iter().map(|token| token.content).collect();
        let mut seen: Vec<AddedToken> = Vec::new();
        for token in [self.start, self.end, self.unknown, self.padding] {
            if !listed.contains(&token.content) && !seen.contains(&token) {
                seen.push(token);
            }
        }
        tokenizer.add_tokens(seen).map_err(|error| refused(error.to_string()))?;
        Ok(())
    }
}
