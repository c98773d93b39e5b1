//! The compiled schemas of a registry, and walks through a schema.

use std::collections::BTreeMap;

use jsonschema::{Keyword, ValidationError, Validator};
use schemars::Schema;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Map, Value, json};

use super::pointer::unescape;
use super::schema::{common_schema, document_schema, is_common, kind_schema};
use crate::stage::StageRegistry;

/// The keyword that refuses `1.0` where an integer is meant: for JSON schema it is one, for the types that read it not.
pub(super) const WHOLE: &str = "x-whole";

/// A schema that can be validated against.
pub(super) struct Compiled {
    pub(super) schema: Value,
    pub(super) validator: Validator,
}

/// Everything that manifests are checked against.
pub(super) struct Rules {
    pub(super) document: Compiled,
    pub(super) common: Compiled,
    pub(super) kinds: BTreeMap<&'static str, Compiled>,
}

impl Rules {
    /// # Errors
    /// The message when a kind's schema is no schema: a fault of the program, not of the manifest.
    pub(super) fn new(registry: &StageRegistry) -> Result<Self, String> {
        let common = common_schema();
        let kinds = registry.iter().map(|kind| {
            let schema = kind_schema(kind.as_ref()).to_value();
            if let Some(key) = keys(&schema, &schema).into_keys().find(|key| is_common(key, &common)) {
                return Err(format!("kind `{}` has a key `{key}`, which every stage has already", kind.kind()));
            }
            let compiled = compile(schema);
            compiled.map(|compiled| (kind.kind(), compiled)).map_err(|error| format!("kind `{}`: {error}", kind.kind()))
        });
        Ok(Self {
            document: compile(document_schema())?,
            common: compile(common.clone())?,
            kinds: kinds.collect::<Result<_, _>>()?,
        })
    }
}

pub(super) fn compile(mut schema: Value) -> Result<Compiled, String> {
    if let Ok(schema) = <&mut Schema>::try_from(&mut schema) {
        RecursiveTransform(mark_integers).transform(schema);
    }
    let options = jsonschema::draft202012::options().with_keyword(WHOLE, |_, _, _| Ok(Box::new(Whole)));
    let validator = options.build(&schema).map_err(|error| error.to_string())?;
    Ok(Compiled { schema, validator })
}

fn mark_integers(schema: &mut Schema) {
    if schema.get("type").is_some_and(|name| name == "integer") {
        schema.insert(WHOLE.to_owned(), json!(true));
    }
}

struct Whole;

impl<'i> Keyword<'i> for Whole {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            Ok(())
        } else {
            Err(ValidationError::custom("expected an integer, found a float"))
        }
    }

    /// Floats with a fraction are refused by `type` already.
    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_f64().is_none_or(|number| !instance.is_f64() || number.fract() != 0.0)
    }
}

/// The schema at `path`, followed through references.
pub(super) fn at<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let mut node = root;
    for segment in path.split('/').skip(1) {
        let segment = unescape(segment);
        if segment == "$ref" {
            node = resolve(root, node);
            continue;
        }
        let step = |node: &'a Value| match node {
            Value::Object(object) => object.get(&segment),
            Value::Array(array) => segment.parse::<usize>().ok().and_then(|index| array.get(index)),
            _ => None,
        };
        node = step(node).or_else(|| step(resolve(root, node)))?;
    }
    Some(node)
}

/// What a reference points at; the schema itself when it is none.
pub(super) fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let target = node.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(node)
}

/// The keys that a schema of a table knows, with their schemas.
pub(super) fn keys<'a>(root: &'a Value, node: &'a Value) -> BTreeMap<&'a str, &'a Value> {
    let mut found = BTreeMap::new();
    collect(root, node, 0, &mut found);
    found
}

fn collect<'a>(root: &'a Value, node: &'a Value, depth: u8, found: &mut BTreeMap<&'a str, &'a Value>) {
    // Schemas may be recursive.
    if depth > 8 {
        return;
    }
    let target = resolve(root, node);
    if !std::ptr::eq(target, node) {
        collect(root, target, depth + 1, found);
    }
    let properties = node.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter);
    found.extend(properties.map(|(key, schema)| (key.as_str(), schema)));
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for branch in node.get(keyword).and_then(Value::as_array).into_iter().flatten() {
            collect(root, branch, depth + 1, found);
        }
    }
}
