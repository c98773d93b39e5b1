//! The JSON schemas: of the whole manifest for editors, and of its parts for the check. Both are made from the same
//! types, so that an editor and `plan` never disagree.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::StageSettings;
use super::document::{Document, HEAD, StageHead};
use super::models::RegistryDocument;
use crate::stage::{StageKind, StageRegistry};

/// The JSON schema of manifests, draft 2020-12, for editors.
#[must_use]
pub fn schema(registry: &StageRegistry) -> Value {
    let mut definitions = Map::new();
    let mut kinds = Vec::new();
    for kind in registry.iter() {
        let mut schema = kind_schema(kind.as_ref()).to_value();
        // Two kinds may both have a type called `Rule`.
        for (name, mut definition) in take_definitions(&mut schema) {
            prefix_refs(&mut definition, kind.kind());
            definitions.insert(format!("{}.{name}", kind.kind()), definition);
        }
        prefix_refs(&mut schema, kind.kind());
        let mut common = common_schema();
        if let Some(name) = common.pointer_mut("/properties/kind") {
            *name = json!({"const": kind.kind(), "description": kind.about()});
        }
        add_common(&mut schema, &common, &definitions);
        if let Some(object) = schema.as_object_mut() {
            object.insert("title".to_owned(), json!(kind.kind()));
            object.insert("description".to_owned(), json!(kind.about()));
        }
        kinds.push(schema);
    }
    let mut schema = document_schema();
    if let Some(stages) = schema.pointer_mut("/properties/stage").and_then(Value::as_object_mut) {
        stages.insert("items".to_owned(), json!({ "oneOf": kinds }));
    }
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), json!("cafe-data manifest"));
        if !definitions.is_empty() {
            object.insert("$defs".to_owned(), Value::Object(definitions));
        }
    }
    schema
}

/// [`schema`] as the text of a file.
#[must_use]
pub fn schema_text(registry: &StageRegistry) -> String {
    let mut text = format!("{:#}", schema(registry));
    text.push('\n');
    text
}

/// The schema of the top level; the stages are any tables.
pub(super) fn document_schema() -> Value {
    schema_of::<Document>()
}

/// The schema of a file of models alone.
pub(super) fn registry_schema() -> Value {
    schema_of::<RegistryDocument>()
}

/// The schema of the keys that every stage has.
pub(super) fn common_schema() -> Value {
    let mut schema = schema_of::<StageHead>();
    let settings = schema_of::<StageSettings>();
    if let (Some(all), Some(more)) = (properties(&mut schema), settings.get("properties").and_then(Value::as_object)) {
        all.extend(more.clone());
    }
    schema
}

/// The schema of a kind's own keys.
pub(super) fn kind_schema(kind: &dyn StageKind) -> Schema {
    let mut schema = kind.config_schema();
    schema.remove("$schema");
    RecursiveTransform(tighten).transform(&mut schema);
    schema
}

/// Whether a key belongs to every stage, not to its kind.
pub(super) fn is_common(key: &str, common: &Value) -> bool {
    HEAD.contains(&key) || common.get("properties").is_some_and(|keys| keys.get(key).is_some())
}

fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    RecursiveTransform(tighten).transform(&mut schema);
    schema.to_value()
}

/// Says in plain schema what Rust's types mean, and takes out what TOML cannot say: there is no null.
fn tighten(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    let bounds = match object.get("format").and_then(Value::as_str) {
        Some("uint8") => Some((0, Some(i64::from(u8::MAX)))),
        Some("uint16") => Some((0, Some(i64::from(u16::MAX)))),
        Some("uint32") => Some((0, Some(i64::from(u32::MAX)))),
        Some("uint64" | "uint") => Some((0, None)),
        Some("int8") => Some((i64::from(i8::MIN), Some(i64::from(i8::MAX)))),
        Some("int16") => Some((i64::from(i16::MIN), Some(i64::from(i16::MAX)))),
        Some("int32") => Some((i64::from(i32::MIN), Some(i64::from(i32::MAX)))),
        Some("int64" | "int") => Some((i64::MIN, Some(i64::MAX))),
        _ => None,
    };
    if object.contains_key("const") {
        for keyword in ["format", "minimum", "maximum"] {
            object.remove(keyword);
        }
    } else if let Some((min, max)) = bounds {
        object.entry("minimum").or_insert(json!(min));
        if let Some(max) = max {
            object.entry("maximum").or_insert(json!(max));
        }
        object.remove("format");
    } else if matches!(object.get("format").and_then(Value::as_str), Some("float" | "double")) {
        object.remove("format");
    }
    without_null(object);
}

fn without_null(object: &mut Map<String, Value>) {
    match object.get_mut("default") {
        Some(Value::Null) => drop(object.remove("default")),
        Some(Value::Object(default)) => default.retain(|_, value| !value.is_null()),
        _ => {}
    }
    if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if let Some(types) = object.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    for keyword in ["anyOf", "oneOf"] {
        let Some(branches) = object.get_mut(keyword).and_then(Value::as_array_mut) else { continue };
        let before = branches.len();
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        if let ([only], true) = (branches.as_slice(), before > 1) {
            let only = only.as_object().cloned().unwrap_or_default();
            object.remove(keyword);
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    match schema.as_object_mut().and_then(|object| object.remove("$defs")) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

fn prefix_refs(schema: &mut Value, kind: &str) {
    let Ok(schema) = <&mut Schema>::try_from(schema) else { return };
    let mut prefix = PrefixRefs(kind);
    prefix.transform(schema);
}

struct PrefixRefs<'a>(&'a str);

impl Transform for PrefixRefs<'_> {
    fn transform(&mut self, schema: &mut Schema) {
        let reference = schema.get_mut("$ref");
        if let Some(Value::String(reference)) = reference
            && let Some(name) = reference.strip_prefix("#/$defs/")
        {
            *reference = format!("#/$defs/{}.{name}", self.0);
        }
        transform_subschemas(self, schema);
    }
}

/// Adds the common keys to a kind's schema, in each of its branches where it is an enum.
fn add_common(schema: &mut Value, common: &Value, definitions: &Map<String, Value>) {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/$defs/"));
    if let Some(target) = target.and_then(|name| definitions.get(name)).cloned() {
        *schema = target;
    }
    let Some(object) = schema.as_object_mut() else {
        *schema = common.clone();
        return;
    };
    let mut in_branches = false;
    for keyword in ["oneOf", "anyOf"] {
        if let Some(branches) = object.get_mut(keyword).and_then(Value::as_array_mut) {
            in_branches = true;
            branches.iter_mut().for_each(|branch| add_common(branch, common, definitions));
        }
    }
    if in_branches && !object.contains_key("properties") && !object.contains_key("unevaluatedProperties") {
        return;
    }
    object.entry("type").or_insert(json!("object"));
    for keyword in ["properties", "required"] {
        let ours = common.get(keyword).cloned().unwrap_or_default();
        match (object.get_mut(keyword), ours) {
            (Some(Value::Object(theirs)), Value::Object(ours)) => theirs.extend(ours),
            (Some(Value::Array(theirs)), Value::Array(ours)) => theirs.splice(0..0, ours).for_each(drop),
            (_, ours) => {
                object.insert(keyword.to_owned(), ours);
            }
        }
    }
}

fn properties(schema: &mut Value) -> Option<&mut Map<String, Value>> {
    schema.get_mut("properties").and_then(Value::as_object_mut)
}
