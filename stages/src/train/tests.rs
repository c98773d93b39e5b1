use std::path::Path;

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, Work, WorkError};
use polars::prelude::*;
use serde_json::{Value, json};

use super::compile::compile;
use crate::testing::world::{images, noise};
use crate::testing::{Bench, Mini};
use crate::{models, tables};

fn node(config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let config = serde_json::from_value(config).unwrap();
    let nodes = compile(&config, &Mini, &CompileContext::new(Path::new("."), Seed(7)))?;
    Ok(nodes.into_iter().next().unwrap())
}

/// A release of four pairs in the split `train`.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let pictures = |name: &str, seed: u32| {
        let mut column = images((0..4).map(|row| noise(64, seed + row)).collect());
        column.rename(name.into());
        column
    };
    let columns = vec![pictures("reference_image", 1), pictures("target_image", 50)];
    let folder = bench.context().storage.root().join("releases/set-1/data");
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = frame::to_parquet(&mut DataFrame::new(4, columns).unwrap(), &[]).unwrap();
    std::fs::write(folder.join("train-00000-of-00001.parquet"), &bytes).unwrap();
    let digest = Digest::of(&bytes).to_hex();
    let listing = json!({ "format": "cafe-data-release/v1", "content_digest": digest, "files": [
        { "path": "README.md", "n_bytes": 1, "digest": digest },
        { "path": "data/train-00000-of-00001.parquet", "split": "train", "n_rows": 4, "n_bytes": bytes.len(), "digest": digest },
    ] });
    std::fs::write(folder.join("../release.json"), listing.to_string()).unwrap();
    let digest = Digest::of(listing.to_string().as_bytes()).to_hex();
    let release = df!("release_id" => ["set-1"], "path" => ["releases/set-1"], "digest" => [digest]).unwrap();
    bench.put(tables::RELEASES, vec![release]);
    bench
}

fn two_steps() -> Value {
    json!({ "steps": 2, "batch_size": 2, "learning_rate": 1e-3, "ema": 0.0, "save_every": 1 })
}

#[test]
fn a_release_becomes_weights_that_differ_from_where_they_began() {
    let bench = bench();
    let node = node(two_steps()).unwrap();
    let made = bench.run(&node).unwrap().tables[tables::WEIGHTS].clone();
    let text = |name: &str| made.column(name).unwrap().str().unwrap().get(0).unwrap().to_owned();
    assert_eq!((text("role").as_str(), made.column("n_pairs").unwrap().u64().unwrap().get(0)), ("cafe_unet", Some(4)));
    let folder = bench.context().storage.root().join(text("path"));
    assert_eq!(models::digest(&folder, "").unwrap().to_hex(), text("weights_digest"));
    let began = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini/family/cafe_unet");
    assert_ne!(models::digest(Path::new(began), "").unwrap().to_hex(), text("weights_digest"));
    // Done again it is the same, without what was kept as with it.
    std::fs::remove_dir_all(bench.context().storage.root().join("cache")).unwrap();
    assert_eq!(bench.run(&node).unwrap().tables[tables::WEIGHTS], made);
    assert_eq!(bench.run(&node).unwrap().tables[tables::WEIGHTS], made);
}

#[test]
fn a_training_that_is_stopped_goes_on_to_the_same_weights() {
    let node = node(two_steps()).unwrap();
    let whole = bench().run(&node).unwrap().tables[tables::WEIGHTS].clone();
    let stopped = bench();
    let context = stopped.context();
    context.cancel.cancel();
    let Work::Whole(work) = &node.work else { panic!("a training is whole") };
    assert!(matches!(work.run(&context), Err(WorkError::Cancelled)));
    assert_eq!(stopped.run(&node).unwrap().tables[tables::WEIGHTS], whole);
}

#[test]
fn what_cannot_be_learned_from_is_said() {
    let mut config = two_steps();
    config["split"] = json!("val");
    let error = bench().run(&node(config).unwrap()).unwrap_err().to_string();
    assert!(error.contains("releases/set-1 has no pairs in the split `val`"), "{error}");
    let bench = bench();
    std::fs::write(bench.context().storage.root().join("releases/set-1/release.json"), "{}").unwrap();
    let error = bench.run(&node(two_steps()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("is not what was published"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_named_together() {
    let issues = node(json!({ "ema": 1.0, "max_gradient_norm": 0.0, "family": "absent" })).unwrap_err();
    let pointers: Vec<&str> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    assert_eq!(pointers, ["/ema", "/max_gradient_norm", "/family"]);
}

#[test]
fn what_changes_no_weight_changes_no_plan() {
    let one = node(two_steps()).unwrap().settings;
    let mut config = two_steps();
    config["save_every"] = json!(7);
    assert_eq!(node(config).unwrap().settings, one);
    let mut config = two_steps();
    config["steps"] = json!(3);
    assert_ne!(node(config).unwrap().settings, one);
}
