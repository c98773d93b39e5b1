//! The stage, from its template files to its pairs.

mod mistakes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, ErrorClass, NodeDecl, StageDecl, StageKind};
use polars::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::InstructKind;
use super::census::CENSUS;
use crate::tables;
use crate::testing::{Bench, Ran};

fn compile(dir: &Path, config: Value) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let context = CompileContext::new(dir, Seed(7));
    InstructKind.compile(&StageDecl { name: "instruct".to_owned(), config }, &context)
}

/// The templates that the project ships.
fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

fn shipped(mut config: Value) -> Vec<NodeDecl> {
    config["templates"] = json!(["templates/paper.toml"]);
    config["held_out"] = json!(["templates/held-out.toml"]);
    compile(&manifests(), config).unwrap()
}

/// 100 references of three classes, one of which no family names.
fn references() -> DataFrame {
    let ids: Vec<String> = (0..100).map(|n| Digest::of(&[n]).to_hex()[..32].to_owned()).collect();
    let classes: Vec<&str> = (0..100).map(|n| ["dog", "cat", "teapot", "dog"][n % 4]).collect();
    df!("reference_id" => ids, "class" => classes).unwrap()
}

/// Runs all nodes over references in shards of `shard_rows`, one shard of the last node after the other.
fn pairs(nodes: &[NodeDecl], references: &DataFrame, shard_rows: usize, seed: Seed) -> DataFrame {
    let shards: Vec<DataFrame> =
        (0..references.height()).step_by(shard_rows).map(|start| references.slice(start as i64, shard_rows)).collect();
    let mut bench = Bench::new();
    bench.seed = seed;
    let (last, first) = nodes.split_last().unwrap();
    bench.put(tables::REFERENCES, shards.clone());
    for node in first {
        bench.run_on(node);
    }
    let mut all: Option<DataFrame> = None;
    for shard in shards {
        bench.put(tables::REFERENCES, vec![shard]);
        let ran = bench.run(last).unwrap();
        assert_eq!(ran.quarantined, []);
        let rows = &ran.tables[tables::PAIRS];
        assert_eq!(**rows.schema(), *tables::pairs().columns);
        match &mut all {
            Some(all) => drop(all.vstack_mut(rows).unwrap()),
            None => all = Some(rows.clone()),
        }
    }
    all.unwrap()
}

fn texts(rows: &DataFrame, column: &str) -> Vec<String> {
    rows.column(column).unwrap().str().unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
}

fn bytes(rows: &DataFrame) -> Vec<u8> {
    let mut rows = rows.clone();
    frame::to_parquet(&mut rows, &[]).unwrap()
}

fn digest(rows: &DataFrame) -> String {
    let columns = tables::pairs();
    let cells: Vec<Vec<String>> = columns.columns.iter_names().map(|name| texts(rows, name)).collect();
    Digest::of(serde_json::to_string(&cells).unwrap().as_bytes()).to_hex()
}

#[test]
fn draws_are_reproducible_and_no_matter_of_shards() {
    for pairing in ["random", "balanced"] {
        let nodes = shipped(json!({"per_reference": 5, "pairing": pairing}));
        let whole = pairs(&nodes, &references(), 100, Seed(7));
        assert_eq!(whole.height(), 500);
        for shard_rows in [1, 7, 64] {
            assert_eq!(digest(&whole), digest(&pairs(&nodes, &references(), shard_rows, Seed(7))), "{pairing}");
        }
        assert_ne!(digest(&whole), digest(&pairs(&nodes, &references(), 100, Seed(8))), "{pairing}");
        // Nothing twice, neither by id nor within a reference.
        assert_eq!(texts(&whole, "pair_id").into_iter().collect::<BTreeSet<_>>().len(), 500);
        let drawn = texts(&whole, "reference_id").into_iter().zip(texts(&whole, "instruction_id"));
        assert_eq!(drawn.collect::<BTreeSet<_>>().len(), 500);
    }
}

#[test]
fn the_order_of_references_is_no_matter() {
    let references = references();
    let reversed = references.reverse();
    for pairing in ["random", "balanced"] {
        let nodes = shipped(json!({"per_reference": 3, "pairing": pairing}));
        let ids = |rows: &DataFrame| {
            texts(&pairs(&nodes, rows, 100, Seed(7)), "pair_id").into_iter().collect::<BTreeSet<_>>()
        };
        assert_eq!(ids(&references), ids(&reversed));
    }
}

#[test]
fn a_random_draw_does_not_depend_on_other_references() {
    let nodes = shipped(json!({"per_reference": 3}));
    let all = pairs(&nodes, &references(), 100, Seed(7));
    let some = pairs(&nodes, &references().slice(40, 2), 100, Seed(7));
    assert_eq!(texts(&all, "pair_id")[120..126], texts(&some, "pair_id"));
}

#[test]
fn balanced_counts_differ_by_one_at_most() {
    for per_reference in [1, 3, 8, 11] {
        let nodes = shipped(json!({"per_reference": per_reference, "pairing": "balanced"}));
        let rows = pairs(&nodes, &references(), 9, Seed(7));
        let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        let mut templates: BTreeMap<(String, String), BTreeMap<String, usize>> = BTreeMap::new();
        for ((class, family), id) in
            texts(&rows, "class").into_iter().zip(texts(&rows, "family")).zip(texts(&rows, "instruction_id"))
        {
            *counts.entry(class.clone()).or_default().entry(family.clone()).or_default() += 1;
            *templates.entry((class, family)).or_default().entry(id).or_default() += 1;
        }
        let n_families: BTreeMap<&str, usize> = counts.iter().map(|(class, of)| (class.as_str(), of.len())).collect();
        assert_eq!(n_families, BTreeMap::from([("cat", 8), ("dog", 8), ("teapot", 6)]));
        let spread = |counts: &BTreeMap<String, usize>| counts.values().max().unwrap() - counts.values().min().unwrap();
        assert!(counts.values().all(|counts| spread(counts) <= 1), "{counts:?}");
        assert!(templates.values().all(|counts| spread(counts) <= 1), "{templates:?}");
    }
}

#[test]
fn random_draws_reach_every_template() {
    let nodes = shipped(json!({"per_reference": 40}));
    let rows = pairs(&nodes, &references(), 100, Seed(7));
    assert_eq!(texts(&rows, "instruction_id").into_iter().collect::<BTreeSet<_>>().len(), 62);
    // 25 teapots, 46 templates: nothing meant for living things.
    let teapots = texts(&rows, "class").into_iter().zip(texts(&rows, "family")).filter(|(class, _)| class == "teapot");
    assert!(teapots.map(|(_, family)| family).all(|family| family != "action" && family != "accessory"));
}

fn run_with_classes(config: Value, classes: &[Option<&str>]) -> Ran {
    let dir = TempDir::new().unwrap();
    let text = "[[family]]\nname = \"f\"\nclasses = [\"dog\", \"owl\", \"object\"]\n\
                [[family.template]]\ninstruction = \"Show a {class}.\"\ncaption = \"a {class}\"\n";
    std::fs::write(dir.path().join("t.toml"), text).unwrap();
    let nodes = compile(dir.path(), config).unwrap();
    let ids: Vec<String> = (0..classes.len()).map(|n| format!("r{n}")).collect();
    let mut bench = Bench::new();
    bench.put(tables::REFERENCES, vec![df!("reference_id" => ids, "class" => classes).unwrap()]);
    let (last, first) = nodes.split_last().unwrap();
    for node in first {
        bench.run_on(node);
    }
    bench.run(last).unwrap()
}

#[test]
fn references_without_a_class_or_templates_are_quarantined() {
    let classes = [Some("Owl"), None, Some("  "), Some("car"), Some("dog")];
    for pairing in ["random", "balanced"] {
        let ran = run_with_classes(json!({"templates": ["t.toml"], "pairing": pairing}), &classes);
        assert_eq!(texts(&ran.tables[tables::PAIRS], "instruction"), ["Show an Owl.", "Show a dog."]);
        assert_eq!(ran.quarantined.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(ran.quarantined.iter().all(|row| row.class == ErrorClass::Invalid));
        assert!(ran.quarantined[0].message.contains("set `class_default`"), "{}", ran.quarantined[0].message);
        assert!(ran.quarantined[2].message.starts_with("no family of the templates is for the class `car`"));
        let config = json!({"templates": ["t.toml"], "pairing": pairing, "class_default": " object "});
        let ran = run_with_classes(config, &classes);
        assert_eq!(texts(&ran.tables[tables::PAIRS], "caption"), ["an Owl", "an object", "an object", "a dog"]);
    }
}

#[test]
fn settings_hold_what_changes_rows() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, word: &str| {
        let text = format!(
            "[[family]]\nname = \"f\"\nclasses = [\"*\"]\n[[family.template]]\ninstruction = \"{word} {{class}}\"\ncaption = \"{word} {{class}}\"\n"
        );
        std::fs::write(dir.path().join(name), text).unwrap();
    };
    let settings = || {
        let config = json!({"templates": ["a.toml"], "held_out": ["b.toml"]});
        compile(dir.path(), config).unwrap()[0].settings.clone()
    };
    write("a.toml", "one");
    write("b.toml", "two");
    let before = settings();
    write("b.toml", "three");
    assert_eq!(before, settings(), "held-out prompts change no row");
    write("a.toml", "four");
    assert_ne!(before, settings());
    let nodes = shipped(json!({"pairing": "balanced"}));
    assert_eq!((nodes.len(), nodes[0].part), (2, Some(CENSUS)));
}

/// When this fails, the same references give other bytes: raise `OUTPUT_VERSION`, and then the digests here.
#[test]
fn output_is_golden() {
    let golden = |pairing: &str| {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("t.toml"), include_str!("tests/golden.toml")).unwrap();
        let config = json!({"templates": ["t.toml"], "per_reference": 2, "pairing": pairing});
        let rows = pairs(&compile(dir.path(), config).unwrap(), &references(), 100, Seed(7));
        Digest::of(&bytes(&rows)).to_hex()
    };
    assert_eq!(
        (super::compile::OUTPUT_VERSION, golden("random").as_str(), golden("balanced").as_str()),
        (
            1,
            "424cf4edd0560d81feedd6486edffae0e287af937d4fe92b738f783d24c6a415",
            "8637183c789190270687f44ed3a3125ed065715e88aa353f90d24577e7aad3fc"
        )
    );
}
