mod subjects;

use std::path::Path;

use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl};
use polars::prelude::*;
use serde_json::{Value, json};

use super::compile::compile;
use crate::tables;
use crate::testing::{Bench, Mini};

fn node(config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let config = serde_json::from_value(config).unwrap();
    compile(&config, &Mini, &CompileContext::new(Path::new("."), Seed(7))).map(|mut nodes| nodes.remove(0))
}

fn references(config: Value) -> DataFrame {
    let mut ran = Bench::new().run(&node(config).unwrap()).unwrap();
    ran.tables.remove(tables::REFERENCES).unwrap()
}

fn config(classes: &[&str], samples: u32) -> Value {
    json!({
        "classes": classes, "prompts": ["a {class} on a red background"], "samples": samples,
        "sampling": { "steps": 2 }, "wrong_class": "keep"
    })
}

#[test]
fn every_wish_is_drawn_and_is_the_same_among_others() {
    let all = references(config(&["toy", "plant"], 2));
    assert_eq!(**all.schema(), *tables::references().columns);
    let ids: Vec<&str> = all.column("reference_id").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    let alone = references(config(&["plant"], 1));
    assert_eq!(alone, all.slice(1, 1), "the second of the first round");
}

#[test]
fn what_looks_like_another_class_is_quarantined_with_what_it_was_taken_for() {
    let mut config = config(&["toy", "plant", "vehicle", "animal"], 2);
    config["wrong_class"] = json!("quarantine");
    let ran = Bench::new().run(&node(config).unwrap()).unwrap();
    // Of two steps, nothing looks like anything: what it is taken for is one of the four, mostly a wrong one.
    assert_eq!(ran.quarantined.len() + ran.tables[tables::REFERENCES].height(), 8);
    assert!(!ran.quarantined.is_empty());
    assert!(ran.quarantined.iter().all(|row| row.message.starts_with("CLIP takes it for `")));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let config = json!({
        "family": "absent", "classes": ["toy", "toy "], "prompts": ["a toy"], "splits": { "train": 0.5 }
    });
    let issues = node(config).err().unwrap();
    let places: Vec<&str> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    assert_eq!(places, ["/splits", "/classes/1", "/prompts/0", "/family"]);
}
