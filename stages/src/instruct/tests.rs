//! Draws, and template files with every mistake.

use std::collections::BTreeMap;
use std::path::Path;

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, NodeDecl, StageDecl, StageKind};
use polars::prelude::*;
use serde_json::{Value, json};

use super::InstructKind;
use crate::testing::Bench;

const TEMPLATES: &str = r#"
[groups]
live = ["cat", "dog"]

[[family]]
name = "place"
classes = ["*"]
[[family.template]]
instruction = "Put this {class} on a beach."
caption = "a {class} on a beach"
[[family.template]]
instruction = "Show this {class} in the snow."
caption = "a {class} in the snow"

[[family]]
name = "style"
classes = ["*"]
[[family.template]]
instruction = "Paint this {class} in oil."
caption = "an oil painting of a {class}"

[[family]]
name = "action"
classes = ["live"]
[[family.template]]
instruction = "Let this {class} run."
caption = "a {class} running"
"#;

fn compile(folder: &Path, more: Value) -> Result<Vec<NodeDecl>, Vec<String>> {
    let mut config = json!({ "templates": ["t.toml"] });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let context = CompileContext { manifest_dir: folder, seed: Seed(7), model_family: None };
    InstructKind
        .compile(&StageDecl { name: "instruct".to_owned(), config }, &context)
        .map_err(|issues| issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect())
}

fn references(n: usize) -> DataFrame {
    let ids: Vec<String> = (0..n).map(|number| format!("ref{number:04}")).collect();
    let classes: Vec<&str> = (0..n).map(|number| ["cat", "apple", "dog"][number % 3]).collect();
    df!("reference_id" => ids, "class" => classes).unwrap()
}

fn bench(shards: Vec<DataFrame>) -> Bench {
    let mut bench = Bench::new();
    std::fs::write(bench.dir.path().join("t.toml"), TEMPLATES).unwrap();
    bench.put("references", shards);
    bench
}

/// Runs all nodes, gives the pairs.
fn pairs(bench: &mut Bench, more: Value) -> DataFrame {
    let nodes = compile(bench.dir.path(), more).unwrap();
    let mut tables = nodes.iter().map(|node| bench.run_on(node).tables).next_back().unwrap();
    tables.remove("pairs").unwrap()
}

fn texts(rows: &DataFrame, name: &str) -> Vec<String> {
    rows.column(name).unwrap().str().unwrap().iter().map(|text| text.unwrap_or("-").to_owned()).collect()
}

fn counts(rows: &DataFrame) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for key in texts(rows, "class").into_iter().zip(texts(rows, "family")) {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[test]
fn random_pairs_differ_by_reference_and_not_by_cut() {
    let rows = references(90);
    let whole = pairs(&mut bench(vec![rows.clone()]), json!({ "per_reference": 2 }));
    assert_eq!(whole.height(), 180);
    let cut = pairs(&mut bench(vec![rows.slice(0, 31), rows.slice(31, 59)]), json!({ "per_reference": 2 }));
    assert!(whole.equals(&cut));
    let ids = texts(&whole, "instruction_id");
    assert!(ids.chunks(2).all(|pair| pair[0] != pair[1]), "an instruction was drawn twice for one reference");
    assert!(ids.chunks(2).any(|pair| pair != &ids[..2]), "all references have the same instructions");
    let mut other = bench(vec![rows]);
    other.seed = Seed(8);
    assert!(!whole.equals(&pairs(&mut other, json!({ "per_reference": 2 }))));
    // An apple does not run.
    assert!(!counts(&whole).contains_key(&("apple".to_owned(), "action".to_owned())));
    assert!(texts(&whole, "instruction").contains(&"Put this apple on a beach.".to_owned()));
    assert!(texts(&whole, "caption").contains(&"an apple on a beach".to_owned()));
    assert!(texts(&whole, "caption").contains(&"an oil painting of an apple".to_owned()));
}

#[test]
fn balanced_pairs_are_equally_often() {
    let rows = references(100);
    let whole = pairs(&mut bench(vec![rows.clone()]), json!({ "per_reference": 2, "pairing": "balanced" }));
    let counts = counts(&whole);
    for (class, n_families) in [("cat", 3), ("apple", 2), ("dog", 3)] {
        let found: Vec<usize> = counts.iter().filter(|((of, _), _)| of == class).map(|(_, n)| *n).collect();
        assert_eq!(found.len(), n_families);
        assert!(found.iter().max().unwrap() - found.iter().min().unwrap() <= 1, "{counts:?}");
    }
    let cut = pairs(
        &mut bench(vec![rows.slice(0, 10), rows.slice(10, 90)]),
        json!({ "per_reference": 2, "pairing": "balanced" }),
    );
    assert!(whole.equals(&cut));
}

#[test]
fn references_without_class_or_templates_are_named() {
    let rows = df!("reference_id" => ["a", "b"], "class" => [None, Some("apple")]).unwrap();
    let bench = bench(vec![rows]);
    let node = compile(bench.dir.path(), json!({ "per_reference": 4 })).unwrap().remove(0);
    let ran = bench.run(&node).unwrap();
    assert!(ran.quarantined[0].message.starts_with("has no class"));
    assert_eq!(ran.quarantined[1].message, "3 templates suit the class `apple`, per_reference is 4");
    let node = compile(bench.dir.path(), json!({ "per_reference": 1, "class_default": "object" })).unwrap().remove(0);
    assert_eq!(texts(&bench.run(&node).unwrap().tables["pairs"], "class"), ["object", "apple"]);
}

#[test]
fn mistakes_in_template_files_are_placed() {
    let family = |text: &str| format!("[[family]]\nname = \"f\"\nclasses = [\"*\"]\n{text}");
    let template = |instruction: &str, caption: &str| {
        family(&format!("[[family.template]]\ninstruction = \"{instruction}\"\ncaption = \"{caption}\"\n"))
    };
    for (text, wanted) in [
        (String::new(), "t.toml: there is no [[family]]"),
        ("[[family]]\nname = \"f\"\n".to_owned(), "t.toml, line 1: missing field `classes`"),
        (family("colour = 1\n"), "t.toml, line 4: unknown field `colour`"),
        ("[[family\n".to_owned(), "t.toml, line 1: "),
        (family(""), "t.toml: family `f`: there is no [[family.template]]"),
        (template("Run.", "a {class}"), "family `f`: template 1: instruction: has no {class}"),
        (template("This {class} and {other}", "a {class}"), "has braces other than {class}"),
        (template("This {class}", " "), "template 1: caption: is empty"),
        (template("This {class}", "a {class}") + &template("That {class}", "a {class}"), "another family of that name"),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.dir.path().join("t.toml"), &text).unwrap();
        let issues = compile(bench.dir.path(), json!({})).unwrap_err().join("\n");
        assert!(issues.starts_with("/templates/0: ") && issues.contains(wanted), "{text}\n{issues}");
    }
    let bench = bench(vec![references(1)]);
    let held_out = "[[family]]\nname = \"h\"\nclasses = [\"*\"]\n[[family.template]]\ninstruction = \"put this {class}, on a BEACH\"\ncaption = \"a {class} elsewhere\"\n";
    std::fs::write(bench.dir.path().join("h.toml"), held_out).unwrap();
    let issues = compile(bench.dir.path(), json!({ "held_out": ["h.toml"] })).unwrap_err();
    assert_eq!(
        issues,
        ["/held_out: `Put this {class} on a beach.` is held out, and stands among the templates to draw from"]
    );
    assert!(
        compile(bench.dir.path(), json!({ "held_out": ["gone.toml"] })).unwrap_err()[0]
            .starts_with("/held_out/0: cannot read")
    );
}

/// The bundled files are sound, and their lists do not overlap.
#[test]
fn bundled_templates_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let context = CompileContext { manifest_dir: &folder, seed: Seed(7), model_family: None };
    let config = json!({ "templates": ["templates/paper.toml"], "held_out": ["templates/held-out.toml"] });
    let nodes = InstructKind.compile(&StageDecl { name: "instruct".to_owned(), config }, &context).unwrap();
    assert_eq!(nodes.len(), 1);
}

/// A change here makes all users' pairs stale: raise OUTPUT_VERSION, and write the new digests down.
#[test]
fn bytes_do_not_change_without_a_new_version() {
    let digest = |more: Value| {
        let mut rows = pairs(&mut bench(vec![references(9)]), more);
        Digest::of(&frame::to_parquet(&mut rows, &[]).unwrap()).to_hex()
    };
    assert_eq!(super::OUTPUT_VERSION, 1);
    assert_eq!(
        [digest(json!({ "per_reference": 2 })), digest(json!({ "per_reference": 2, "pairing": "balanced" }))],
        ["?", "?"]
    );
}
