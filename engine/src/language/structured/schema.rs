//! Which JSON schemas replies may be asked to follow.

use serde_json::{Map, Value, json};

use crate::{EngineError, Result};

/// Keys that say something about values.
const KEYS: [&str; 16] = [
    "type",
    "enum",
    "const",
    "anyOf",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
];
/// Keys that change nothing.
const NOTES: [&str; 7] = ["$schema", "$id", "$comment", "title", "description", "default", "examples"];
const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];
/// Schemas in schemas. What follows them can be read by any JSON reader.
const DEEPEST: usize = 32;
/// What lengths and numbers of items may be: more could not be written anyhow.
const LONGEST: u64 = 1 << 16;
/// Numbers that are not bounded by the schema are by this: what an f64 tells apart (RFC 8259, section 6).
const LARGEST: i64 = (1 << 53) - 1;

/// The schema as the grammar is made of it: what it does not say, is settled so that all that follows it also follows the
/// schema. Objects have no further properties, and numbers have bounds.
///
/// # Errors
/// When it has a key that is not supported, or a value that means nothing.
pub(super) fn settled(schema: &Value) -> Result<Value> {
    Place { path: String::new(), depth: 0 }.settled(schema)
}

/// Where in the schema.
struct Place {
    /// A JSON pointer.
    path: String,
    depth: usize,
}

impl Place {
    fn refused<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        Err(EngineError::argument(format!("the JSON schema, at `{path}`: {message}")))
    }

    fn inside(&self, steps: &[&str]) -> Self {
        let step = |path: String, step: &&str| path + "/" + &step.replace('~', "~0").replace('/', "~1");
        Self { path: steps.iter().fold(self.path.clone(), step), depth: self.depth + 1 }
    }

    fn settled(&self, schema: &Value) -> Result<Value> {
        let Value::Object(keys) = schema else { return self.refused("not an object") };
        if self.depth > DEEPEST {
            return self.refused(format!("more than {DEEPEST} schemas in each other"));
        }
        let mut found: Map<String, Value> = Map::new();
        for (key, value) in keys {
            if KEYS.contains(&key.as_str()) {
                found.insert(key.clone(), self.key(key, value)?);
            } else if !NOTES.contains(&key.as_str()) {
                return self.refused(format!("key `{key}` is not supported; supported are {}", KEYS.join(", ")));
            }
        }
        if found.contains_key("anyOf") && found.len() > 1 {
            return self.refused("key `anyOf` must stand alone");
        }
        if ["type", "enum", "const", "anyOf"].iter().all(|key| !found.contains_key(*key)) {
            return self.refused("key `type` is missing: replies may not be anything");
        }
        self.check_required(&found)?;
        let is = |wanted: &str| match found.get("type") {
            Some(Value::Array(types)) => types.iter().any(|found| found == wanted),
            found => found.is_some_and(|found| found == wanted),
        };
        let (is_object, is_number) = (is("object"), is("integer") || is("number"));
        if is("array") && !found.contains_key("items") {
            return self.refused("key `items` is missing: replies may not be anything");
        }
        if is_object {
            found.insert("additionalProperties".to_owned(), json!(false));
        }
        if is_number && !found.contains_key("minimum") && !found.contains_key("exclusiveMinimum") {
            found.insert("minimum".to_owned(), json!(-LARGEST));
        }
        if is_number && !found.contains_key("maximum") && !found.contains_key("exclusiveMaximum") {
            found.insert("maximum".to_owned(), json!(LARGEST));
        }
        Ok(Value::Object(found))
    }

    /// A key's value, settled.
    fn key(&self, key: &str, value: &Value) -> Result<Value> {
        let wrong = |wanted: &str| self.refused(format!("key `{key}` must be {wanted}"));
        let is_literal = matches!(key, "enum" | "const");
        let mut names = value.as_object().filter(|_| key == "properties").into_iter().flat_map(Map::keys);
        if is_literal && !is_writable(value) || names.any(|name| !is_writable_text(name)) {
            return self.refused(format!("key `{key}` has a control character that JSON has no letter for"));
        }
        match (key, value) {
            ("properties", Value::Object(properties)) => {
                let settled =
                    |(name, schema): (&String, &Value)| Ok((name.clone(), self.inside(&[key, name]).settled(schema)?));
                Ok(Value::Object(properties.iter().map(settled).collect::<Result<_>>()?))
            }
            ("items", schema) => self.inside(&[key]).settled(schema),
            ("anyOf", Value::Array(schemas)) if !schemas.is_empty() => {
                let settled =
                    |(index, schema): (usize, &Value)| self.inside(&[key, &index.to_string()]).settled(schema);
                Ok(Value::Array(schemas.iter().enumerate().map(settled).collect::<Result<_>>()?))
            }
            ("anyOf", _) => wrong("schemas, one at least"),
            ("properties", _) => wrong("an object of schemas"),
            ("type", Value::String(name)) if TYPES.contains(&name.as_str()) => Ok(value.clone()),
            ("type", Value::Array(names))
                if !names.is_empty() && names.iter().all(|name| TYPES.iter().any(|known| name == known)) =>
            {
                Ok(value.clone())
            }
            ("type", _) => wrong(&format!("one of {}, or some of them", TYPES.join(", "))),
            ("enum", Value::Array(values)) if !values.is_empty() => Ok(value.clone()),
            ("enum", _) => wrong("values, one at least"),
            ("const", _) => Ok(value.clone()),
            ("required", Value::Array(names)) if names.iter().all(Value::is_string) => Ok(value.clone()),
            ("required", _) => wrong("names of properties"),
            ("additionalProperties", Value::Bool(false)) => Ok(value.clone()),
            ("additionalProperties", _) => wrong("false, or left out: replies have no further properties"),
            ("minItems" | "maxItems" | "minLength" | "maxLength", _) => match value.as_u64() {
                Some(number) if number <= LONGEST => Ok(value.clone()),
                _ => wrong(&format!("a whole number of 0 to {LONGEST}")),
            },
            // A bound beyond what numbers are bounded by anyhow would change nothing, but for the grammar's size.
            _ => match value.as_f64() {
                Some(number) if number.abs() <= LARGEST as f64 => Ok(value.clone()),
                _ => wrong(&format!("a number of −{LARGEST} to {LARGEST}")),
            },
        }
    }

    fn check_required(&self, keys: &Map<String, Value>) -> Result<()> {
        let required = keys.get("required").and_then(Value::as_array);
        let properties = keys.get("properties").and_then(Value::as_object);
        let names = required.into_iter().flatten().filter_map(Value::as_str);
        for name in names {
            if !properties.is_some_and(|properties| properties.contains_key(name)) {
                return self.refused(format!("key `required` has `{name}`, which is not of its `properties`"));
            }
        }
        Ok(())
    }
}

/// Whether a text can be written without `\u`.
fn is_writable_text(text: &str) -> bool {
    text.chars().all(|letter| !letter.is_ascii_control() || "\n\r\t\u{8}\u{c}".contains(letter))
}

fn is_writable(value: &Value) -> bool {
    match value {
        Value::String(text) => is_writable_text(text),
        Value::Array(values) => values.iter().all(is_writable),
        Value::Object(values) => values.iter().all(|(name, value)| is_writable_text(name) && is_writable(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(schema: Value) -> String {
        settled(&schema).unwrap_err().to_string()
    }

    #[test]
    fn what_a_schema_leaves_open_is_settled() {
        let schema = json!({"title": "t", "type": "object", "properties": {
            "z": {"type": "integer", "minimum": 1},
            "a": {"type": "array", "items": {"type": ["number", "null"]}, "maxItems": 2},
        }, "required": ["a"]});
        let found = settled(&schema).unwrap().to_string();
        let expected = concat!(
            r#"{"type":"object","properties":{"z":{"type":"integer","minimum":1,"maximum":9007199254740991},"#,
            r#""a":{"type":"array","items":{"type":["number","null"],"minimum":-9007199254740991,"#,
            r#""maximum":9007199254740991},"maxItems":2}},"required":["a"],"additionalProperties":false}"#
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_supported_is_said_with_its_place() {
        let message = refused(json!({"type": "object", "properties": {"a/b": {"type": "string", "pattern": "x"}}}));
        let expected =
            "the JSON schema, at `/properties/a~1b`: key `pattern` is not supported; supported are type, enum";
        assert!(message.starts_with(expected), "{message}");
        assert_eq!(refused(json!({})), "the JSON schema, at `/`: key `type` is missing: replies may not be anything");
        assert!(refused(json!(true)).ends_with("at `/`: not an object"));
        for (schema, key) in [
            (json!({"type": "text"}), "`type` must be one of object"),
            (json!({"type": []}), "`type` must be"),
            (json!({"type": "array"}), "`items` is missing"),
            (json!({"type": "array", "items": true}), "at `/items`: not an object"),
            (json!({"type": "string", "maxLength": -1}), "`maxLength` must be a whole number"),
            (json!({"type": "string", "maxLength": 1e9}), "`maxLength` must be"),
            (json!({"type": "number", "maximum": 1e300}), "`maximum` must be a number"),
            (json!({"type": "number", "maximum": "1"}), "`maximum` must be a number"),
            (json!({"type": "object", "properties": []}), "`properties` must be an object"),
            (json!({"type": "object", "additionalProperties": true}), "`additionalProperties` must be false"),
            (json!({"type": "object", "required": ["x"]}), "`required` has `x`"),
            (json!({"type": "object", "required": "x"}), "`required` must be names"),
            (json!({"enum": [["a\u{7}"]]}), "`enum` has a control character"),
            (json!({"type": "object", "properties": {"\u{7f}": {"type": "null"}}}), "`properties` has a control"),
            (json!({"enum": []}), "`enum` must be values"),
            (json!({"anyOf": []}), "`anyOf` must be schemas"),
            (json!({"anyOf": [{"type": "null"}], "type": "null"}), "`anyOf` must stand alone"),
            (json!({"anyOf": [{"$ref": "http://x"}]}), "at `/anyOf/0`: key `$ref` is not supported"),
        ] {
            let message = refused(schema);
            assert!(message.contains(key), "{message}");
        }
        let nested = |n| (0..n).fold(json!({"type": "null"}), |schema, _| json!({"type": "array", "items": schema}));
        assert!(settled(&nested(32)).is_ok());
        assert!(refused(nested(33)).contains("more than 32 schemas"));
    }
}
