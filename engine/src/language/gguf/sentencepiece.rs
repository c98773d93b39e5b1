//! SentencePiece's byte-pair encoding, as Llama 2 has it: the vocabulary is pieces with scores, and what is in no piece is
//! taken byte by byte. The tokenizer is the one that transformers makes of it (`convert_slow_tokenizer.LlamaConverter`).

use std::collections::BTreeMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, NormalizerWrapper, Tokenizer};

use super::header::Result;

/// Stands for a space.
const SPACE: &str = "▁";

/// `begins`: whether a text, and what follows a special token, begins with a space.
pub(super) fn tokenizer(tokens: &[String], scores: &[f64], unknown: Option<String>, begins: bool) -> Result<Tokenizer> {
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
    if vocab.len() != tokens.len() {
        return Err("key `tokenizer.ggml.tokens` has a token twice".to_owned());
    }
    let mut model = BPE::builder().vocab_and_merges(vocab, pairs(tokens, scores)).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown);
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(|error| error.to_string())?);
    let replaced = |from: &str, to: &str| Replace::new(from, to).map_err(|error| error.to_string());
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> =
        vec![replaced(SPACE, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if begins {
        normalizers.push(Prepend::new(SPACE.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(replaced(" ", SPACE)?.into());
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(|error| error.to_string())?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// The pairs that pieces are made of, those of higher scores first; of one score, in the order of
/// `tokenization_utils_base.generate_merges`.
fn pairs(tokens: &[String], scores: &[f64]) -> Vec<(String, String)> {
    let ids: BTreeMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut pairs: Vec<(f64, &str, &str)> = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let splits = token.char_indices().skip(1).filter_map(|(at, _)| token.split_at_checked(at));
        let mut here: Vec<(&str, &str)> =
            splits.filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right)).collect();
        here.sort_by_key(|(left, right)| (ids.get(left), ids.get(right)));
        pairs.extend(here.into_iter().map(|(left, right)| (*score, left, right)));
    }
    let length = |piece: &str| piece.chars().count();
    // Stable, so that ties stay in the order of the vocabulary.
    pairs.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| length(b.1).cmp(&length(a.1))).then_with(|| length(b.2).cmp(&length(a.2)))
    });
    pairs.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}
