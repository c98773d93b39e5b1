//! The tokenizer of a GGUF file, as files of Hugging Face say it.

use serde_json::{Value as Json, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use super::header::{Header, Result, Value};
use super::sentencepiece;

/// Kinds of tokens, as llama.cpp counts them.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The files of a tokenizer.
pub(super) struct Files {
    /// `tokenizer.json`.
    pub(super) tokenizer: String,
    /// `tokenizer_config.json`.
    pub(super) config: Json,
    /// `generation_config.json`.
    pub(super) generation: Json,
    pub(super) n_tokens: usize,
}

impl Files {
    pub(super) fn of(header: &Header) -> Result<Self> {
        let tokens = header.texts("tokenizer.ggml.tokens")?;
        let token = |key: &str| match header.size(&format!("tokenizer.ggml.{key}_token_id"))? {
            None => Ok(None),
            Some(id) => match tokens.get(id) {
                Some(token) => Ok(Some((token, id))),
                None => Err(format!("key `tokenizer.ggml.{key}_token_id` is {id}: there are {} tokens", tokens.len())),
            },
        };
        let (begin, end) = (token("bos")?, token("eos")?);
        let (unknown, padding) = (token("unknown")?, token("padding")?);
        // Llama's texts begin with a token where the file says nothing, as in llama.cpp.
        let is_llama = header.text("tokenizer.ggml.model")? == Some("llama");
        let is_begun = header.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(is_llama && begin.is_some());
        let kinds = kinds(header)?;
        let model = header.text("tokenizer.ggml.model")?;
        let mut tokenizer = match model {
            Some("gpt2") => byte_pairs(header, tokens)?,
            Some("llama") => {
                let unknown = unknown.map(|(token, _)| token.clone());
                let begins = header.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                sentencepiece::tokenizer(tokens, scores(header, tokens.len())?, unknown, begins)?
            }
            _ => {
                return Err(format!(
                    "key `tokenizer.ggml.model` is {model:?}, which is not supported: \"gpt2\" and \"llama\" are. Put the \
                     published tokenizer.json beside the published safetensors instead"
                ));
            }
        };
        let is_special = |kind: i64| kind == CONTROL || kind == UNKNOWN;
        let added = tokens
            .iter()
            .zip(kinds)
            .filter(|(token, kind)| (is_special(**kind) || **kind == USER_DEFINED) && !token.is_empty());
        let added = added.map(|(token, kind)| AddedToken::from(token.clone(), is_special(*kind)).normalized(false));
        tokenizer.add_tokens(added.collect::<Vec<_>>()).map_err(|error| error.to_string())?;
        if is_begun {
            let (begin, id) = begin.ok_or("key `tokenizer.ggml.add_bos_token` is true, but no token begins a text")?;
            let begin_and_text = TemplateProcessing::builder()
                .try_single(vec![begin.clone(), "$0".to_owned()])
                .map_err(|error| format!("the token `{begin}`: {error}"))?
                .special_tokens(vec![(begin.clone(), id as u32)])
                .build()
                .map_err(|error| format!("the token `{begin}`: {error}"))?;
            tokenizer.with_post_processor(Some(begin_and_text));
        }
        let text = |token: Option<(&String, usize)>| token.map(|(token, _)| token.clone());
        let id = |token: Option<(&String, usize)>| token.map(|(_, id)| id);
        // A turn may end otherwise than a text; a reply ends with either.
        let mut ends: Vec<usize> = id(end).into_iter().collect();
        ends.extend(id(token("eot")?).filter(|id| !ends.contains(id)));
        let ends = if let [end] = ends.as_slice() { json!(end) } else { json!(ends) };
        Ok(Self {
            tokenizer: tokenizer.to_string(false).map_err(|error| error.to_string())?,
            config: json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": text(begin),
                "eos_token": text(end),
                "unk_token": text(unknown),
                "pad_token": text(padding),
                "add_bos_token": is_begun,
                "add_prefix_space": false,
                "clean_up_tokenization_spaces": false,
                "model_max_length": header.size("llama.context_length")?,
                "chat_template": header.text("tokenizer.chat_template")?,
            }),
            generation: json!({ "bos_token_id": id(begin), "eos_token_id": ends, "pad_token_id": id(padding) }),
            n_tokens: tokens.len(),
        })
    }
}

/// Byte-pair encoding as GPT-2 has it.
fn byte_pairs(header: &Header, tokens: &[String]) -> Result<Tokenizer> {
    let words = words(header.text("tokenizer.ggml.pre")?)?;
    let pairs = header.texts("tokenizer.ggml.merges")?.iter().map(|merge| match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left.to_owned(), right.to_owned())),
        _ => Err(format!("key `tokenizer.ggml.merges`: `{merge}` is not two tokens")),
    });
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
    if vocab.len() != tokens.len() {
        return Err("key `tokenizer.ggml.tokens` has a token twice".to_owned());
    }
    let model = BPE::builder().vocab_and_merges(vocab, pairs).build().map_err(|error| error.to_string())?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(words));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    Ok(tokenizer)
}

/// What each token is; empty where the file does not say.
fn kinds(header: &Header) -> Result<&[i64]> {
    match header.values.get("tokenizer.ggml.token_type") {
        Some(Value::Integers(kinds)) => Ok(kinds),
        Some(_) => Err("key `tokenizer.ggml.token_type` is not a list of numbers".to_owned()),
        None => Ok(&[]),
    }
}

/// How early each token is made of two.
fn scores(header: &Header, n_tokens: usize) -> Result<&[f64]> {
    match header.values.get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) if scores.len() == n_tokens => Ok(scores),
        Some(Value::Floats(scores)) => {
            Err(format!("key `tokenizer.ggml.scores` has {} numbers: there are {n_tokens} tokens", scores.len()))
        }
        _ => Err("key `tokenizer.ggml.scores` is not a list of numbers".to_owned()),
    }
}

/// How a text is taken apart into words before pairs are sought.
fn words(name: Option<&str>) -> Result<PreTokenizerWrapper> {
    let gpt2 = ByteLevel::new(false, true, true);
    match name {
        Some("gpt-2") => Ok(gpt2.into()),
        Some("smollm") => Ok(Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into()),
        _ => Err(format!(
            "key `tokenizer.ggml.pre` is {name:?}, which is not supported: \"smollm\" and \"gpt-2\" are. Put the \
             published tokenizer.json beside the published safetensors instead"
        )),
    }
}
