//! Reading a `config.json`, with errors that say where the mistake is.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{EngineError, Result};

/// Reads the JSON file `path`. Keys that `T` does not have are ignored.
///
/// # Errors
/// When the file cannot be read, is not JSON, or a key is missing or has a value of another type: the message names
/// line, column and key.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).map_err(|error| EngineError::io(path, error))?;
    serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        let key = match key_at(&text, line, column) {
            key if key.is_empty() => String::new(),
            key => format!(", key `{key}`"),
        };
        EngineError::config(path, format!("line {line}, column {column}{key}: {message}"))
    })
}

/// The value of a key that cannot be used: `key` has `found`, and `supported` would be right.
pub(crate) fn unsupported(path: &Path, key: &str, found: impl std::fmt::Display, supported: &str) -> EngineError {
    EngineError::config(path, format!("key `{key}` is {found}, which is not supported: {supported}"))
}

/// The keys that lead to the value before a place in a JSON text, joined by dots.
///
/// serde_json tells line and column alone; a reader of a nested config wants to know whose `hidden_size` is wrong.
fn key_at(text: &[u8], line: usize, column: usize) -> String {
    let start: usize = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let mut bytes = text.iter().copied().take(start + column);
    let mut open: Vec<String> = Vec::new(); // One entry per open bracket: the key last seen in it.
    let mut string = String::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => string = rest_of_string(&mut bytes),
            b':' => {
                if let Some(key) = open.last_mut() {
                    *key = std::mem::take(&mut string);
                }
            }
            b'{' | b'[' => open.push(String::new()),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
    }
    open.retain(|key| !key.is_empty());
    open.join(".")
}

fn rest_of_string(bytes: &mut impl Iterator<Item = u8>) -> String {
    let mut string = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => string.extend(bytes.next()),
            _ => string.push(byte),
        }
    }
    String::from_utf8_lossy(&string).into_owned()
}

/// A height and a width in pixels: one number for both, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// A square.
    Square(usize),
    /// Height, then width.
    Pair([usize; 2]),
}

impl Size {
    /// The side of a square; none if height and width differ.
    #[must_use]
    pub fn side(self) -> Option<usize> {
        match self {
            Self::Square(side) => Some(side),
            Self::Pair([height, width]) => (height == width).then_some(height),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Square(side) => write!(f, "{side}"),
            Self::Pair(pair) => write!(f, "{pair:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its errors matter")]
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its errors matter")]
        width: usize,
    }

    fn message(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let error = read::<Outer>(&path).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    }

    #[test]
    fn a_value_of_another_type_is_named_with_its_place_and_key() {
        assert_eq!(
            message("{\n  \"x\": {\"{\": [1, \"\\\"}\"]},\n  \"inner\": {\"width\": \"wide\", \"z\": 1}\n}"),
            "line 3, column 27, key `inner.width`: invalid type: string \"wide\", expected usize"
        );
        assert_eq!(
            message("{\"inner\": {\"width\": -4}}"),
            "line 1, column 22, key `inner.width`: invalid value: integer `-4`, expected usize"
        );
    }

    #[test]
    fn a_missing_key_is_named_with_what_it_is_missing_in() {
        assert_eq!(message("{\"inner\": {}}"), "line 1, column 12, key `inner`: missing field `width`");
        assert_eq!(message("{}"), "line 1, column 2: missing field `inner`");
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for text in ["", "{", "[]", "{\"inner\": {\"width\": 1", "\u{0}\u{1}", "{\"inner\": \"\\"] {
            assert!(message(text).starts_with("line "), "{text:?}");
        }
        assert!(matches!(read::<Outer>(Path::new("no/such/config.json")), Err(EngineError::Io { .. })));
    }

    #[test]
    fn sizes_are_one_number_or_two() {
        let size = |text: &str| serde_json::from_str::<Size>(text).unwrap();
        assert_eq!(size("224").side(), Some(224));
        assert_eq!(size("[14, 14]").side(), Some(14));
        assert_eq!(size("[224, 336]").side(), None);
        assert_eq!(size("[224, 336]").to_string(), "[224, 336]");
    }
}
