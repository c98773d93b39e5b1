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

fn donors(pairs: &[(&str, &str)], config: Value) -> DataFrame {
    let mut bench = Bench::new();
    let (ids, captions): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    bench.put(tables::PAIRS, vec![df!("pair_id" => ids, "caption" => captions).unwrap()]);
    bench.run(&node(config).unwrap()).unwrap().tables[tables::DONORS].clone()
}

#[test]
fn the_best_are_kept_and_a_pair_is_the_same_alone_and_among_others() {
    let pairs = [("p1", "a toy on a red background"), ("p2", "a plant on a blue background")];
    let config =
        |keep: u32| json!({ "source": { "type": "generated", "tries": 3 }, "keep": keep, "sampling": { "steps": 3 } });
    let all = donors(&pairs, config(3));
    assert_eq!(
        all.schema().iter_names().collect::<Vec<_>>(),
        tables::donors().columns.iter_names().collect::<Vec<_>>()
    );
    let scores: Vec<f32> = all.column("clip_score").unwrap().f32().unwrap().into_no_null_iter().collect();
    for of_pair in scores.chunks(3) {
        assert!(of_pair.is_sorted_by(|one, other| one >= other), "{of_pair:?}");
    }
    let best = donors(&pairs[1..], config(1));
    assert_eq!(best, all.slice(3, 1), "the first of the second pair");
}

#[test]
fn no_more_can_be_kept_than_there_are() {
    let issues = node(json!({ "source": { "type": "generated", "tries": 2 }, "keep": 3 })).err().unwrap();
    assert_eq!(issues[0].pointer, "/keep");
}
