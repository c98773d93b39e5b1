//! Chat templates: the Jinja text that comes with a model, rendered as `apply_chat_template` of HF transformers does.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::{Deserialize, Serialize};

/// Steps that a template may take: it is a program, from a file that is not trusted.
const FUEL: u64 = 1_000_000;
/// Values in values that `tojson` writes.
const DEEPEST: usize = 100;
const NAME: &str = "chat_template";

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The special tokens that templates know by name, such as `bos_token`.
pub(super) type Tokens = Vec<(&'static str, String)>;

/// A template, read.
#[derive(Clone, Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// # Errors
    /// When it is not Jinja.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, _, value| match value.kind() {
            // As Python writes them.
            ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
            ValueKind::None => Ok(out.write_str("None")?),
            ValueKind::Undefined => Ok(()),
            _ => Ok(write!(out, "{value}")?),
        });
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, without_marks(source)).map_err(|error| one_line(&error))?;
        Ok(Self { environment })
    }

    /// The text of a conversation; with what begins a reply, when it is the assistant's turn.
    ///
    /// # Errors
    /// When the template refuses the conversation, or does not end.
    pub(super) fn render(&self, messages: &[Message], is_prompt: bool, tokens: &Tokens) -> Result<String, String> {
        let mut values: Vec<(String, Value)> = vec![
            ("messages".to_owned(), Value::from_serialize(messages)),
            ("add_generation_prompt".to_owned(), Value::from(is_prompt)),
            ("tools".to_owned(), Value::from(())),
            ("documents".to_owned(), Value::from(())),
        ];
        values.extend(tokens.iter().map(|(name, token)| ((*name).to_owned(), Value::from(token.clone()))));
        let values: Value = values.into_iter().collect();
        let template = self.environment.get_template(NAME).map_err(|error| one_line(&error))?;
        template.render(values).map_err(|error| one_line(&error))
    }
}

fn one_line(error: &Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("line {line}: {detail}"),
        (Some(detail), None) => detail.to_owned(),
        (None, _) => error.to_string(),
    }
}

/// transformers marks what the assistant says with blocks that change nothing; Jinja knows them not.
fn without_marks(source: &str) -> String {
    let mut found = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, block)) = rest.split_once("{%") {
        found.push_str(before);
        found.push_str("{%");
        let (inside, after) = block.split_once("%}").unwrap_or((block, ""));
        let word = inside.trim_matches(|letter: char| letter.is_whitespace() || letter == '-' || letter == '+');
        match word {
            "generation" => found.push_str(&inside.replace("generation", "if true")),
            "endgeneration" => found.push_str(&inside.replace("endgeneration", "endif")),
            _ => found.push_str(inside),
        }
        if block.len() > inside.len() {
            found.push_str("%}");
        }
        rest = after;
    }
    found + rest
}

/// `json.dumps` of Python, with which transformers replaces Jinja's own filter.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Accepted, and the default.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut text = String::new();
    write_json(value, indent, 0, &mut text)?;
    Ok(Value::from_safe_string(text))
}

fn write_json(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) -> Result<(), Error> {
    let failed = |error: std::fmt::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let new_line = |text: &mut String, depth: usize| {
        if let Some(indent) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', (indent * depth).min(1000)));
        }
    };
    if depth > DEEPEST {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("values more than {DEEPEST} deep")));
    }
    let separator = if indent.is_some() { "," } else { ", " };
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => text.push_str("null"),
        ValueKind::Bool | ValueKind::Number => write!(text, "{value}").map_err(failed)?,
        ValueKind::Map => {
            text.push('{');
            let mut is_first = true;
            for key in value.try_iter()? {
                if !std::mem::take(&mut is_first) {
                    text.push_str(separator);
                }
                new_line(text, depth + 1);
                write_json(&Value::from(key.to_string()), indent, depth + 1, text)?;
                text.push_str(": ");
                write_json(&value.get_item(&key)?, indent, depth + 1, text)?;
            }
            if !is_first {
                new_line(text, depth);
            }
            text.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            text.push('[');
            let mut is_first = true;
            for item in value.try_iter()? {
                if !std::mem::take(&mut is_first) {
                    text.push_str(separator);
                }
                new_line(text, depth + 1);
                write_json(&item, indent, depth + 1, text)?;
            }
            if !is_first {
                new_line(text, depth);
            }
            text.push(']');
        }
        _ => {
            let string = serde_json::to_string(&value.to_string());
            text.push_str(&string.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?);
        }
    }
    Ok(())
}
