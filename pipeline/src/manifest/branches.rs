//! Which branch of a `oneOf` or `anyOf` was meant. A person wrote one form of several; what is wrong with the other
//! forms is no news to them.

use std::collections::BTreeSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::rules::at;

/// What to say about a value that fits no branch.
pub(super) enum Verdict<'a> {
    /// The mistakes of the branch that was most likely meant.
    Meant(&'a [ValidationError<'static>]),
    /// The value at this pointer must be one of these.
    Value(String, Vec<Value>),
    /// The table needs this key, with one of these values.
    Tag(String, Vec<Value>),
    /// The table needs exactly one of these keys.
    OneKey(Vec<String>),
    /// The value has none of these types.
    Types(Vec<String>),
}

/// Judges the mistakes of the branches of a value at `here`, a pointer in the validated instance.
pub(super) fn judge<'a>(
    schema: &Value,
    here: &str,
    instance: &Value,
    branches: &'a [Vec<ValidationError<'static>>],
) -> Verdict<'a> {
    let fitting: Vec<_> = branches.iter().filter(|branch| !branch.iter().any(|error| type_at(error, here))).collect();
    if fitting.is_empty() {
        // Words of every branch are better told than that they are text.
        let words = |branch: &Vec<ValidationError<'static>>| {
            branch.iter().filter(|error| error.instance_path().as_str() == here).find_map(choices)
        };
        if let Some(values) = branches.iter().map(words).collect::<Option<Vec<_>>>() {
            return Verdict::Value(here.to_owned(), values.concat());
        }
        let names: BTreeSet<_> = branches
            .iter()
            .flatten()
            .filter(|error| type_at(error, here))
            .flat_map(|error| expected_types(schema, error))
            .collect();
        return Verdict::Types(names.into_iter().collect());
    }
    if let Some((pointer, values)) = same_choice(&fitting) {
        return Verdict::Value(pointer, values);
    }
    if let Some((key, values)) = same_tag(schema, here, &fitting) {
        return Verdict::Tag(key, values);
    }
    if let Some(names) = one_key(here, instance, &fitting) {
        return Verdict::OneKey(names);
    }
    let best = fitting.into_iter().min_by_key(|branch| distance(here, branch));
    Verdict::Meant(best.map_or(&[], Vec::as_slice))
}

/// How far a branch is from what was written: a wrong tag or a missing key weigh more than what is wrong deeper down.
fn distance(here: &str, branch: &[ValidationError<'static>]) -> (usize, usize, usize) {
    let choice = |error: &&ValidationError<'_>| matches!(error.kind(), Kind::Constant { .. } | Kind::Enum { .. });
    let at_hand = |error: &&ValidationError<'_>| error.instance_path().as_str() == here;
    let required = |error: &&ValidationError<'_>| matches!(error.kind(), Kind::Required { .. });
    let unexpected = branch.iter().map(|error| match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => unexpected.len(),
        _ => 0,
    });
    let tags = branch.iter().filter(choice).count();
    let missing = branch.iter().filter(at_hand).filter(required).count();
    (tags, missing + unexpected.sum::<usize>(), branch.len())
}

fn type_at(error: &ValidationError<'_>, here: &str) -> bool {
    matches!(error.kind(), Kind::Type { .. }) && error.instance_path().as_str() == here
}

/// The types that the schema allows where `error` arose.
pub(super) fn expected_types(schema: &Value, error: &ValidationError<'_>) -> Vec<String> {
    let path = error.schema_path().as_str();
    match at(schema, path).or_else(|| at(schema, error.evaluation_path().as_str())) {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The values that a `const` or `enum` allows.
pub(super) fn choices(error: &ValidationError<'_>) -> Option<Vec<Value>> {
    match error.kind() {
        Kind::Constant { expected_value } => Some(vec![expected_value.as_ref().clone()]),
        Kind::Enum { options } => options.as_array().cloned(),
        _ => None,
    }
}

/// When every branch wants another value at the same place.
fn same_choice(branches: &[&Vec<ValidationError<'static>>]) -> Option<(String, Vec<Value>)> {
    let first = branches.first()?;
    let mut pointers =
        first.iter().filter(|error| choices(error).is_some()).map(|error| error.instance_path().as_str());
    pointers.find_map(|pointer| {
        let mut values = Vec::new();
        for branch in branches {
            let error =
                branch.iter().find(|error| error.instance_path().as_str() == pointer && choices(error).is_some())?;
            values.extend(choices(error)?);
        }
        Some((pointer.to_owned(), values))
    })
}

/// When every branch misses the same key: the tag.
fn same_tag(schema: &Value, here: &str, branches: &[&Vec<ValidationError<'static>>]) -> Option<(String, Vec<Value>)> {
    if branches.len() < 2 {
        return None;
    }
    let first = branches.first()?;
    first.iter().find_map(|error| {
        let key = missing_key(error, here)?;
        let mut values = Vec::new();
        for branch in branches {
            let error = branch.iter().find(|error| missing_key(error, here) == Some(key))?;
            let path = error.schema_path().as_str().strip_suffix("/required")?.to_owned();
            let property = at(schema, &format!("{path}/properties/{key}"))?;
            match (property.get("const"), property.get("enum").and_then(Value::as_array)) {
                (Some(value), _) => values.push(value.clone()),
                (None, Some(options)) => values.extend(options.iter().cloned()),
                _ => return None,
            }
        }
        Some((key.to_owned(), values))
    })
}

/// When every branch wants one key of its own, and none of them is there.
fn one_key(here: &str, instance: &Value, branches: &[&Vec<ValidationError<'static>>]) -> Option<Vec<String>> {
    if branches.len() < 2 || !instance.is_object() {
        return None;
    }
    let keys = branches.iter().map(|branch| {
        let mut missing = branch.iter().filter_map(|error| missing_key(error, here));
        missing.next().filter(|_| missing.next().is_none()).map(ToOwned::to_owned)
    });
    keys.collect::<Option<BTreeSet<_>>>().filter(|keys| keys.len() > 1).map(|keys| keys.into_iter().collect())
}

fn missing_key<'a>(error: &'a ValidationError<'_>, here: &str) -> Option<&'a str> {
    match error.kind() {
        Kind::Required { property } if error.instance_path().as_str() == here => property.as_str(),
        _ => None,
    }
}
