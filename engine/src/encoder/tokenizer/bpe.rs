//! CLIP's byte-pair encoding, from the files that say which pairs there are.

use std::collections::BTreeMap;
use std::path::Path;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::{EngineError, Result};

/// What OpenAI's CLIP takes for a word: an English ending, letters, one digit, or other signs.
const WORD: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Opens a `tokenizer.json`.
pub(super) fn open(path: &Path) -> Result<Tokenizer> {
    let text = std::fs::read(path).map_err(|error| EngineError::io(path, error))?;
    let mut tokenizer = Tokenizer::from_bytes(text).map_err(|error| EngineError::config(path, error.to_string()))?;
    // Both are done by the caller, whose files may say otherwise.
    tokenizer.with_truncation(None).map_err(|error| EngineError::config(path, error.to_string()))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Builds the tokenizer of a `vocab.json` and a `merges.txt`.
pub(super) fn build(vocabulary: &Path, merges: &Path, unknown: &str) -> Result<Tokenizer> {
    let vocab: BTreeMap<String, u32> = crate::config::read(vocabulary)?;
    let pairs = read_merges(merges)?;
    let in_merges = |error: tokenizers::Error| EngineError::config(merges, error.to_string());
    let model = BPE::builder()
        .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), pairs)
        .unk_token(unknown.to_owned())
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix("</w>".to_owned())
        .build()
        .map_err(in_merges)?;
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(in_merges)?;
    let words = Split::new(SplitPattern::Regex(WORD.to_owned()), SplitDelimiterBehavior::Removed, true);
    let words = words.map_err(in_merges)?;
    let mut tokenizer = Tokenizer::new(model);
    let normalizers = Normalizers::new(vec![NFC.into(), spaces.into(), Lowercase.into()]);
    tokenizer.with_normalizer(Some(normalizers)).map_err(in_merges)?;
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
    Ok(tokenizer)
}

/// The pairs that become one token, the most frequent first.
fn read_merges(path: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).map_err(|error| EngineError::io(path, error))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|(index, line)| match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
            _ => Err(EngineError::config(path, format!("line {}: `{line}` is not two tokens", index + 1))),
        })
        .collect()
}
