//! What changed since the plan that was applied last, field by field, and what that makes stale.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Plan;
use crate::catalog::{NodeProgress, PlanRecord};
use crate::digest::Fingerprint;
use crate::manifest::child_pointer;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The node.
    pub node: String,
    /// JSON pointer into its fields; empty when the whole node is new or gone.
    pub pointer: String,
    /// The value before, if there was one.
    pub before: Option<Value>,
    /// The value now, if there is one.
    pub after: Option<Value>,
}

/// Shards that the last plan made and this one cannot use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stale {
    /// The node.
    pub node: String,
    /// Its fingerprint in the last plan: what `--adopt` takes.
    pub before: Fingerprint,
    /// Shards made under it.
    pub n_shards: u64,
    /// Rows in them.
    pub n_rows: u64,
    /// What they cost.
    pub wall_ms: u64,
    /// The same on accelerators.
    pub device_ms: u64,
}

/// The difference between two plans.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// Fields that differ, in plan order. What follows from upstream changes is not listed again.
    pub changes: Vec<Change>,
    /// Nodes whose shards are of no use any more.
    pub stale: Vec<Stale>,
}

/// Compares `plan` with the one applied last, of which `progress` tells what it made.
#[must_use]
pub fn explain(plan: &Plan, last: &PlanRecord, progress: &[NodeProgress]) -> Explanation {
    let mut explanation = Explanation::default();
    let empty = Vec::new();
    let mut before: BTreeMap<&str, &Value> = last
        .nodes
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter_map(|node| Some((node["name"].as_str()?, node)))
        .collect();
    for node in &plan.nodes {
        let Some(old) = before.remove(node.name.as_str()) else {
            let after = Some(Value::String(node.kind.clone()));
            explanation.changes.push(Change { node: node.name.clone(), pointer: String::new(), before: None, after });
            continue;
        };
        compare(
            &node.name,
            "",
            &without_inputs(&old["fields"]),
            &without_inputs(&node.fields),
            &mut explanation.changes,
        );
        let old_fingerprint = old["fingerprint"].as_str().and_then(|hex| Fingerprint::from_hex(hex).ok());
        let made = progress.iter().find(|made| made.node == node.name && made.n_committed > 0);
        if let (Some(before), Some(made)) = (old_fingerprint.filter(|before| *before != node.fingerprint), made) {
            explanation.stale.push(stale(before, made));
        }
    }
    for (name, old) in before {
        let pointer = String::new();
        explanation.changes.push(Change {
            node: name.to_owned(),
            pointer,
            before: Some(old["kind"].clone()),
            after: None,
        });
        let fingerprint = old["fingerprint"].as_str().and_then(|hex| Fingerprint::from_hex(hex).ok());
        if let (Some(before), Some(made)) =
            (fingerprint, progress.iter().find(|made| made.node == name && made.n_committed > 0))
        {
            explanation.stale.push(stale(before, made));
        }
    }
    explanation
}

fn stale(before: Fingerprint, made: &NodeProgress) -> Stale {
    Stale {
        node: made.node.clone(),
        before,
        n_shards: made.n_committed,
        n_rows: made.n_out,
        wall_ms: made.wall_ms,
        device_ms: made.cost.device_ms,
    }
}

/// The fields of a node that are its own. Of its inputs only the tables count: which node they come from is its own
/// doing, but that node's fingerprint is not.
fn without_inputs(fields: &Value) -> Value {
    let mut fields = fields.clone();
    if let Some(inputs) = fields.get_mut("inputs").and_then(Value::as_array_mut) {
        for input in inputs {
            if let Some(from) = input.get_mut("from") {
                let names: Vec<Value> =
                    from.as_object().map(|from| from.keys().cloned().map(Value::String).collect()).unwrap_or_default();
                *from = Value::Array(names);
            }
        }
    }
    fields
}

fn compare(node: &str, pointer: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let pointer = child_pointer(pointer, key);
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(node, &pointer, old, new, changes),
                    (old, new) => changes.push(Change {
                        node: node.to_owned(),
                        pointer,
                        before: old.cloned(),
                        after: new.cloned(),
                    }),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(node, &format!("{pointer}/{index}"), old, new, changes);
            }
        }
        _ => changes.push(Change {
            node: node.to_owned(),
            pointer: pointer.to_owned(),
            before: Some(before.clone()),
            after: Some(after.clone()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_differs_is_named_once() {
        let before = json!({ "settings": { "rules": [{ "min": 0.3 }], "gone": 1 }, "seed": 1, "inputs": [{ "from": { "a": "x" } }] });
        let after = json!({ "settings": { "rules": [{ "min": 0.4 }], "new": 2 }, "seed": 1, "inputs": [{ "from": { "a": "y" } }] });
        let mut changes = Vec::new();
        compare("filter", "", &without_inputs(&before), &without_inputs(&after), &mut changes);
        let pointers: Vec<&str> = changes.iter().map(|change| change.pointer.as_str()).collect();
        assert_eq!(pointers, ["/settings/gone", "/settings/new", "/settings/rules/0/min"]);
        assert_eq!((changes[2].before.clone(), changes[2].after.clone()), (Some(json!(0.3)), Some(json!(0.4))));
    }
}
