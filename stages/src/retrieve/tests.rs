use std::path::Path;

use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl};
use polars::prelude::*;
use serde_json::{Value, json};

use super::compile::compile;
use super::nearest::Index;
use crate::tables;
use crate::testing::{Bench, Mini};

fn nodes(config: Value) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let config = serde_json::from_value(config).unwrap();
    compile(&config, &Mini, &CompileContext::new(Path::new("."), Seed(7)))
}

fn donors(pairs: &[(&str, &str)], config: Value) -> DataFrame {
    let mut bench = Bench::new();
    let (ids, captions): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    bench.put(tables::PAIRS, vec![df!("pair_id" => ids, "caption" => captions).unwrap()]);
    bench.run(&nodes(config).unwrap()[0]).unwrap().tables[tables::DONORS].clone()
}

#[test]
fn the_best_are_kept_and_a_pair_is_the_same_alone_and_among_others() {
    let pairs = [("p1", "a toy on a red background"), ("p2", "a plant on a blue background")];
    let config =
        |keep: u32| json!({ "source": { "type": "generated", "tries": 3, "sampling": { "steps": 3 } }, "keep": keep });
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
    let issues = nodes(json!({ "source": { "type": "generated", "tries": 2 }, "keep": 3 })).err().unwrap();
    assert_eq!(issues[0].pointer, "/keep");
}

#[test]
fn an_index_gives_the_nearest_pictures_and_says_whose_they_are() {
    let pictures = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini/pool");
    let config =
        json!({ "source": { "type": "index", "pictures": { "type": "folder", "path": pictures } }, "keep": 3 });
    let nodes = nodes(config).unwrap();
    let mut bench = Bench::new();
    bench.run_on(&nodes[0]);
    let captions = ["a toy on a checkered white background", "a tool on a cloudy grey background"];
    bench.put(tables::PAIRS, vec![df!("pair_id" => ["p1", "p2"], "caption" => captions).unwrap()]);
    let ran = bench.run(&nodes[1]).unwrap();
    let donors = &ran.tables[tables::DONORS];
    assert_eq!(donors.height(), 6);
    assert_eq!(
        donors.column("rank").unwrap().u32().unwrap().into_no_null_iter().collect::<Vec<_>>(),
        [0, 1, 2, 0, 1, 2]
    );
    assert_eq!(donors.column("seed").unwrap().null_count(), 6);
    assert_eq!(donors.column("licence").unwrap().null_count(), 0);
    let scores: Vec<f32> = donors.column("clip_score").unwrap().f32().unwrap().into_no_null_iter().collect();
    assert!(scores.chunks(3).all(|of_pair| of_pair.is_sorted_by(|one, other| one >= other)), "{scores:?}");
    // The whole file of the pool's teddy bear, which stands before a checkered white ground.
    let bear = std::fs::read(format!("{pictures}/toy-fluent-1f9f8.png")).unwrap();
    let images = donors.column("image").unwrap().struct_().unwrap().field_by_name("bytes").unwrap();
    let found = images.binary().unwrap().iter().take(3).any(|bytes| bytes == Some(bear.as_slice()));
    assert!(found, "it is not among the nearest three");
}

#[test]
fn of_equal_pictures_the_lesser_id_comes_first_and_a_double_counts_once() {
    let vector = |x: f32, y: f32| [x, y].map(f32::to_le_bytes).concat();
    let embeddings = [vector(0.6, 0.8), vector(1.0, 0.0), vector(0.6, 0.8), vector(0.6, 0.8)];
    let rows = df!("picture_id" => ["c", "b", "a", "c"], "key" => ["1", "2", "3", "4"], "embedding" => embeddings);
    let index = Index::new(rows.unwrap()).unwrap();
    // Ids in order: a, b, c.
    assert_eq!(index.nearest(&[0.0, 1.0], 9).unwrap(), [(0.8, 0), (0.8, 2), (0.0, 1)]);
    assert_eq!(index.nearest(&[1.0, 0.0], 1).unwrap(), [(1.0, 1)]);
    assert!(index.nearest(&[1.0], 1).is_err());
}
