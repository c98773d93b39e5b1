//! What to write instead.

use serde_json::Value;

use super::pointer::bare;
use super::rules::resolve;
use super::suggest::{number, shown};

/// What to write where there is no stage.
pub(super) const STAGE_HELP: &str = "write a `[[stage]]` table for each stage, with `name` and `kind`";

/// How a missing key is written, and what it is for.
pub(super) fn example(root: &Value, key: &str, property: Option<&Value>) -> String {
    let Some(property) = property else { return format!("add `{} = …`", bare(key)) };
    let target = resolve(root, property);
    let line = match sample(root, property, 0) {
        Some(value) => format!("add `{} = {value}`", bare(key)),
        None => format!("add `{} = …`", bare(key)),
    };
    let about = [property, target].into_iter().find_map(|schema| schema.get("description")?.as_str());
    match about.and_then(|about| about.split("\n\n").next()) {
        Some(about) => format!("{line}: {}", about.replace('\n', " ").trim_end_matches('.')),
        None => line,
    }
}

/// A value that fits a schema, as far as this is easily found.
fn sample(root: &Value, schema: &Value, depth: u8) -> Option<String> {
    let schema = resolve(root, schema);
    let first = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|values| values.first());
    let scalar = |value: &&Value| !value.is_object() && !value.is_array();
    let given = [first("examples"), schema.get("const"), schema.get("default"), first("enum")];
    if let Some(value) = given.into_iter().flatten().find(scalar) {
        return Some(value.to_string());
    }
    if depth > 3 {
        return None;
    }
    if let Some(branch) = first("oneOf").or_else(|| first("anyOf")) {
        return sample(root, branch, depth + 1);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Some("\"…\"".to_owned()),
        Some("integer") => Some(schema.get("minimum").map_or(1, |min| min.as_i64().unwrap_or(1).max(1)).to_string()),
        Some("number") => Some("0.5".to_owned()),
        Some("boolean") => Some("true".to_owned()),
        Some("array") => {
            let items = schema.get("items").and_then(|items| sample(root, items, depth + 1));
            Some(format!("[{}]", items.unwrap_or_else(|| "…".to_owned())))
        }
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let keys = required.filter_map(Value::as_str).map(|key| {
                let property = schema.get("properties").and_then(|properties| properties.get(key));
                let value = property.and_then(|property| sample(root, property, depth + 1));
                format!("{} = {}", bare(key), value.unwrap_or_else(|| "…".to_owned()))
            });
            let keys = keys.collect::<Vec<_>>().join(", ");
            Some(if keys.is_empty() { "{ … }".to_owned() } else { format!("{{ {keys} }}") })
        }
        _ => None,
    }
}

/// Help for a value of the wrong type; `text` is what stands in the file.
pub(super) fn for_type(key: &str, value: &Value, expected: &[String], text: &str) -> Option<String> {
    let wants = |name: &str| expected.iter().any(|expected| expected == name);
    // Elements of lists have no key.
    let element = key.parse::<usize>().is_ok() || key.is_empty();
    let assign =
        |value: &str| if element { format!("write `{value}`") } else { format!("write `{} = {value}`", bare(key)) };
    let numeric = wants("integer") || wants("number");
    match value {
        Value::Object(_) if wants("array") && text.starts_with('[') && !text.starts_with("[[") => {
            Some(format!("write `[[{key}]]`, in double brackets, above each of them"))
        }
        Value::Array(_) if wants("object") && text.starts_with("[[") => {
            Some(format!("write `[{key}]`, in single brackets, and only once"))
        }
        Value::String(word) if numeric && word.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Some(format!("{}, without quotes", assign(word.trim())))
        }
        Value::String(word) if wants("integer") && key.ends_with("_bytes") => match bytes(word) {
            Some(bytes) => Some(assign(&bytes.to_string())),
            None => Some("write a number of bytes, without quotes".to_owned()),
        },
        Value::String(word) if wants("boolean") => {
            let yes = ["true", "yes", "on", "1"].contains(&word.to_lowercase().as_str());
            Some(format!("{}, without quotes", assign(if yes { "true" } else { "false" })))
        }
        Value::Number(_) if wants("integer") => Some("write a number without a decimal point".to_owned()),
        Value::Number(_) | Value::Bool(_) if wants("string") => {
            Some(format!("{}, in quotes", assign(&format!("\"{text}\""))))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) if wants("array") => {
            Some(format!("{}, in brackets", assign(&format!("[{}]", shown(value)))))
        }
        _ if wants("object") && element => Some("write a table: `{ … }`".to_owned()),
        _ if wants("object") => Some(format!("write a table: `{} = {{ … }}`", bare(key))),
        _ if numeric => Some("write a number".to_owned()),
        _ if wants("boolean") => Some("write `true` or `false`".to_owned()),
        _ if wants("array") => Some(assign("[…]")),
        _ => None,
    }
}

/// `1 GiB` in bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = unit.trim().to_uppercase();
    let power = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    let base: u64 = if unit.contains('I') { 1024 } else { 1000 };
    digits.parse::<u64>().ok()?.checked_mul(base.pow(power))
}

/// What a schema says about the size of a number.
pub(super) fn range(schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).map(number);
    let (min, above) = (bound("minimum"), bound("exclusiveMinimum").map(|min| format!("above {min}")));
    let (max, below) = (bound("maximum"), bound("exclusiveMaximum").map(|max| format!("below {max}")));
    if let (Some(min), Some(max)) = (&min, &max) {
        return Some(format!("write a number from {min} to {max}"));
    }
    let least = above.or(min.map(|min| format!("of at least {min}")));
    let most = below.or(max.map(|max| format!("of at most {max}")));
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("write a number {least} and {most}")),
        (Some(only), None) | (None, Some(only)) => Some(format!("write a number {only}")),
        (None, None) => None,
    }
}

/// Message and help about a stage's name.
pub(super) fn for_name(value: &Value) -> (String, Option<String>) {
    let name = value.as_str().unwrap_or_default();
    let rule = "lower-case letters, digits, `_` and `-`, a letter first, at most 64";
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' { c } else { '_' };
    let lower = name.to_lowercase();
    let better: String = lower.chars().map(plain).skip_while(|c| !c.is_ascii_lowercase()).take(64).collect();
    let better = better.trim_end_matches('_');
    let help = if better.is_empty() { rule.to_owned() } else { format!("for example `name = {better:?}`: {rule}") };
    (format!("{} is not a valid name for a stage", shown(value)), Some(help))
}
