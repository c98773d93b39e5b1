//! Values of a frame as text and as JSON.

use std::fmt::Write as _;

use polars::prelude::*;
use serde_json::{Map, Number, Value};

/// A value as JSON. Bytes become hexadecimal text; what JSON cannot say (not a number, infinite) becomes null.
#[must_use]
pub fn json(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => Value::Bool(*value),
        AnyValue::String(text) => Value::from(*text),
        AnyValue::StringOwned(text) => Value::from(text.as_str()),
        AnyValue::Binary(bytes) => Value::from(hex(bytes)),
        AnyValue::BinaryOwned(bytes) => Value::from(hex(bytes)),
        // Through its own text: 0.1 is 0.1, not the nearest double.
        AnyValue::Float32(value) => value.to_string().parse().ok().and_then(Number::from_f64).into(),
        AnyValue::Float64(value) => Number::from_f64(*value).into(),
        AnyValue::List(items) => items.iter().map(|item| json(&item)).collect(),
        AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
            let fields: Map<String, Value> =
                fields(value).into_iter().map(|(name, value)| (name.to_owned(), json(&value))).collect();
            Value::Object(fields)
        }
        integer if integer.is_integer() => match integer.extract::<i128>() {
            Some(number) => Number::from_i128(number).map_or_else(|| Value::from(number.to_string()), Value::Number),
            None => Value::from(integer.to_string()),
        },
        other => Value::from(other.to_string()),
    }
}

/// The fields of a struct with their names; none of any other value.
#[must_use]
pub fn fields<'v>(value: &'v AnyValue<'v>) -> Vec<(&'v str, AnyValue<'v>)> {
    match value {
        AnyValue::Struct(_, _, fields) => {
            fields.iter().map(|field| field.name().as_str()).zip(value._iter_struct_av()).collect()
        }
        AnyValue::StructOwned(owned) => {
            owned.1.iter().map(|field| field.name().as_str()).zip(owned.0.iter().cloned()).collect()
        }
        _ => Vec::new(),
    }
}

/// A value as it stands in a CSV file: bytes as hexadecimal text, lists and structs as JSON; `None` for a null.
#[must_use]
pub fn plain(value: &AnyValue<'_>) -> Option<String> {
    match value {
        AnyValue::Null => None,
        AnyValue::Float32(number) => Some(float(f64::from(*number), number.to_string())),
        AnyValue::Float64(number) => Some(float(*number, number.to_string())),
        other => Some(match json(other) {
            Value::String(text) => text,
            nested => nested.to_string(),
        }),
    }
}

/// Very large and very small numbers with an exponent, all others with their shortest digits.
fn float(number: f64, digits: String) -> String {
    let size = number.abs();
    if size != 0.0 && size.is_finite() && !(1e-5..1e16).contains(&size) { format!("{number:e}") } else { digits }
}

/// A value for a person: bytes by their size only.
pub(super) fn shown(value: &AnyValue<'_>) -> String {
    let size = |bytes: &[u8]| format!("<{}>", crate::text::bytes(bytes.len() as u64));
    match value {
        AnyValue::Null => "null".to_owned(),
        AnyValue::Binary(bytes) => size(bytes),
        AnyValue::BinaryOwned(bytes) => size(bytes),
        AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
            let parts: Vec<String> =
                fields(value).into_iter().map(|(name, value)| format!("{name}: {}", shown(&value))).collect();
            format!("{{{}}}", parts.join(", "))
        }
        AnyValue::List(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        other => plain(other).unwrap_or_default(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_told_whoever_owns_it() {
        let parts = [Series::new("bytes".into(), [b"ab".as_slice()]), Series::new("path".into(), ["a.png"])];
        let image = StructChunked::from_series("image".into(), 1, parts.iter()).unwrap().into_series();
        let borrowed = image.get(0).unwrap();
        let owned = borrowed.clone().into_static();
        assert!(matches!(owned, AnyValue::StructOwned(_)));
        for value in [borrowed, owned] {
            assert_eq!(json(&value), serde_json::json!({ "bytes": "6162", "path": "a.png" }));
            assert_eq!(shown(&value), "{bytes: <2 B>, path: a.png}");
        }
    }
}
