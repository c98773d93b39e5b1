//! From what a model wrote to what user and assistant say. A model that is not bound to a schema writes prose around the
//! object, fences, commas too many and line breaks inside of texts; all of that is forgiven, since another try costs more.

use serde_json::{Map, Value};

use super::template::Said;

/// More of a reply is not looked at.
const MAX_BYTES: usize = 64 << 10;
/// So many beginnings of an object are tried.
const MAX_OBJECTS: usize = 32;

/// Finds `{"user": …, "assistant": …}` in `text`. Texts come without blanks around them, and with single blanks for line
/// breaks. Other keys are passed over.
///
/// # Errors
/// What is missing, in words that the model is told.
pub(super) fn parse(text: &str) -> Result<Said, String> {
    let text = text.get(..floor(text, MAX_BYTES)).unwrap_or(text);
    let starts = text.match_indices('{').map(|(at, _)| at).take(MAX_OBJECTS);
    let mut mistake = None;
    for start in starts {
        let rest = text.get(start..).unwrap_or_default();
        let Some(object) = object(rest) else {
            mistake.get_or_insert_with(|| "the JSON object does not end".to_owned());
            continue;
        };
        match serde_json::from_str::<Map<String, Value>>(&repaired(object)) {
            Ok(found) => match said(&found) {
                Ok(said) => return Ok(said),
                // What an object lacks is a better hint than that another one is broken.
                Err(missing) => mistake = Some(missing),
            },
            Err(error) => {
                mistake.get_or_insert_with(|| format!("it is not JSON ({error})"));
            }
        }
    }
    Err(mistake.unwrap_or_else(|| "there is no JSON object in it".to_owned()))
}

fn said(found: &Map<String, Value>) -> Result<Said, String> {
    let text = |key: &str| match found.get(key) {
        Some(Value::String(text)) => Ok(text.split_whitespace().collect::<Vec<_>>().join(" ")),
        Some(_) => Err(format!("`{key}` is not a text")),
        None => Err(format!("the JSON object has no `{key}`")),
    };
    Ok(Said { user: text("user")?, assistant: text("assistant")? })
}

/// The object that `text` begins with, up to its last brace.
fn object(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut place = Place::default();
    for (at, letter) in text.char_indices() {
        match letter {
            _ if place.passes(letter) => {}
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return text.get(..=at);
                }
            }
            _ => {}
        }
    }
    None
}

/// `object` without commas before a closing bracket, and with escapes for line breaks and tabs inside of texts.
fn repaired(object: &str) -> String {
    let mut repaired = String::with_capacity(object.len());
    let mut place = Place::default();
    for letter in object.chars() {
        if place.passes(letter) {
            match letter {
                '\n' => repaired.push_str("\\n"),
                '\r' => repaired.push_str("\\r"),
                '\t' => repaired.push_str("\\t"),
                letter => repaired.push(letter),
            }
            continue;
        }
        if matches!(letter, '}' | ']') {
            let kept = repaired.trim_end();
            if let Some(kept) = kept.strip_suffix(',') {
                repaired.truncate(kept.len());
            }
        }
        repaired.push(letter);
    }
    repaired
}

/// Whether a letter stands inside of a text.
#[derive(Default)]
struct Place {
    is_text: bool,
    is_escaped: bool,
}

impl Place {
    /// Goes on by one letter; whether it is one of a text, its quotes included.
    fn passes(&mut self, letter: char) -> bool {
        if !self.is_text {
            self.is_text = letter == '"';
            return self.is_text;
        }
        let is_escaped = self.is_escaped;
        self.is_escaped = letter == '\\' && !is_escaped;
        self.is_text = letter != '"' || is_escaped;
        true
    }
}

/// The last boundary of a letter at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_repaired() {
        let expected = Said { user: "Make it \"blue\".".to_owned(), assistant: "Here {it} is.".to_owned() };
        let plain = r#"{"user": "Make it \"blue\".", "assistant": "Here {it} is."}"#;
        let replies = [
            plain.to_owned(),
            format!("Sure! Here you go:\n```json\n{plain}\n```\nHope this helps {{}}."),
            plain.replace("\"}", "\",\n}"),
            plain.replace("blue\\\".", "blue\\\".\n "),
            plain.replace("{\"user", "{\"mood\": [1, 2,], \"user"),
            format!("{{\"thought\": {{\"a\": 1}}}} {plain}"),
            format!("{{broken {plain}"),
        ];
        for reply in replies {
            assert_eq!(parse(&reply), Ok(expected.clone()), "{reply}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let mistakes = [
            ("", "no JSON object"),
            ("I would say: make it blue", "no JSON object"),
            (r#"{"user": "a", "assistant": "b"#, "does not end"),
            (r#"{"question": "a", "answer": "b"}"#, "no `user`"),
            (r#"{"user": "a", "assistant": ["b"]}"#, "`assistant` is not a text"),
            (r#"{'user': 'a', 'assistant': 'b'}"#, "not JSON"),
        ];
        for (reply, said) in mistakes {
            let mistake = parse(reply).unwrap_err();
            assert!(mistake.contains(said), "{reply}: {mistake}");
        }
        assert!(parse(&"{".repeat(1 << 20)).is_err());
        assert!(parse(&"\u{e4}".repeat(1 << 16)).is_err());
    }
}
