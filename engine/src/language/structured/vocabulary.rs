//! The bytes that tokens stand for.

use llguidance::toktrie::TokTrie;
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;

use crate::{EngineError, Result};

/// Bytes of a longer token are taken for none: none is needed, and the trie of all tokens has a limit.
const LONGEST: usize = 512;

/// How the names of tokens stand for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// GPT-2's: each byte has a letter of its own.
    ByteLevel,
    /// SentencePiece's: a name is text, `▁` a space, and `<0x0A>` a byte.
    Fallback,
}

/// The bytes of each of the first `n_tokens` tokens; of none where a token is not text: special tokens, those of `stop`, and ids
/// without a token. They are not those of `Tokenizer::decode`, which may drop a first space, or replace what is no UTF-8.
///
/// # Errors
/// When names of tokens mean something else than bytes.
pub(super) fn token_bytes(tokenizer: &Tokenizer, n_tokens: usize, stop: &[u32]) -> Result<Vec<Vec<u8>>> {
    let names = names(tokenizer.get_decoder())?;
    let added = tokenizer.get_added_tokens_decoder();
    let bytes = |id: u32| {
        let bytes = match added.get(&id) {
            _ if stop.contains(&id) => None,
            Some(token) if token.special => None,
            Some(token) => Some(token.content.clone().into_bytes()),
            None => tokenizer.id_to_token(id).and_then(|name| names.bytes(&name)),
        };
        bytes.filter(|bytes| bytes.len() <= LONGEST && bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER))
    };
    Ok((0..n_tokens as u32).map(|id| bytes(id).unwrap_or_default()).collect())
}

fn names(decoder: Option<&DecoderWrapper>) -> Result<Names> {
    match decoder {
        Some(DecoderWrapper::ByteLevel(_)) => Ok(Names::ByteLevel),
        Some(DecoderWrapper::Metaspace(_)) => Ok(Names::Fallback),
        Some(DecoderWrapper::Sequence(sequence)) => {
            let has = |wanted: fn(&DecoderWrapper) -> bool| sequence.get_decoders().iter().any(wanted);
            if has(|decoder| matches!(decoder, DecoderWrapper::ByteLevel(_))) {
                Ok(Names::ByteLevel)
            } else if has(|decoder| matches!(decoder, DecoderWrapper::ByteFallback(_))) {
                Ok(Names::Fallback)
            } else {
                Err(unknown("a sequence without `ByteLevel` and `ByteFallback`"))
            }
        }
        Some(_) => Err(unknown("of another kind")),
        None => Err(unknown("missing")),
    }
}

fn unknown(found: &str) -> EngineError {
    EngineError::argument(format!(
        "tokenizer.json: key `decoder` is {found}: structured output knows the bytes of tokens of `ByteLevel`, `ByteFallback` \
         and `Metaspace`"
    ))
}

impl Names {
    /// The bytes of a token; None when its name has letters that stand for none.
    fn bytes(self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::ByteLevel => name.chars().map(byte_of).collect(),
            Self::Fallback => Some(match name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
                Some(hex) if hex.len() == 2 => vec![u8::from_str_radix(hex, 16).ok()?],
                _ => name.replace('▁', " ").into_bytes(),
            }),
        }
    }
}

/// The byte that a letter of GPT-2's byte-level vocabulary stands for: printable Latin-1 for itself, and the others, in order, are
/// the letters from U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(letter) {
        code @ 0..=0xFF => u8::try_from(code).ok().filter(|byte| is_itself(*byte)),
        code => (0..=u8::MAX).filter(|byte| !is_itself(*byte)).nth((code - 0x100) as usize),
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn every_byte_has_its_letter() {
        let mut found: Vec<u8> = ByteLevel::alphabet().into_iter().map(|letter| byte_of(letter).unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, (0..=255).collect::<Vec<u8>>());
        assert_eq!(
            (byte_of('Ġ'), byte_of('Ċ'), byte_of('a'), byte_of('é')),
            (Some(32), Some(10), Some(97), Some(0xE9))
        );
        assert_eq!((byte_of(' '), byte_of('▁'), byte_of('\u{AD}')), (None, None, None));
    }

    #[test]
    fn names_of_sentence_piece_are_text_or_bytes() {
        let bytes = |name: &str| Names::Fallback.bytes(name);
        assert_eq!(bytes("▁aé"), Some(" aé".as_bytes().to_vec()));
        assert_eq!((bytes("<0x0A>"), bytes("<0xZZ>"), bytes("<0x0A")), (Some(vec![10]), None, Some(b"<0x0A".to_vec())));
    }
}
