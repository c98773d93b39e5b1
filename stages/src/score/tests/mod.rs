//! The stage, from its keys to its scores, on the bundled family.

mod nodes;
mod pictures;
mod presets;
mod real_images;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cafe_pipeline::digest::Seed;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind, Work};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use polars::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ScoreKind;
use crate::models::{ModelStore, NoModel};
use crate::tables;
use crate::testing::{Bench, Ran};

/// Families by name or folder; no library.
#[derive(Clone)]
struct Store(PathBuf);

impl ModelStore for Store {
    fn folder(&self, named: &str, role: ModelRole, _: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        match (named, role) {
            ("mini", ModelRole::Family) => Ok(self.0.clone()),
            _ => Err(NoModel { message: format!("there is no model {named}"), help: None }),
        }
    }
}

fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini/family")
}

fn compile_in(family: &Path, config: Value) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let context = CompileContext::new(Path::new("."), Seed(7));
    let kind = ScoreKind::new(Arc::new(Store(family.to_owned())));
    kind.compile(&StageDecl { name: "score".to_owned(), config }, &context)
}

fn compile(config: Value) -> Vec<NodeDecl> {
    compile_in(&mini(), config).unwrap()
}

/// A bundled picture, or one that is larger than the models take and not square.
fn picture(name: &str) -> Vec<u8> {
    if name == "gradient" {
        let image = RgbImage::from_fn(120, 90, |x, y| Rgb([(x * 2) as u8, (y * 2) as u8, (x * y / 50) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
        return bytes.into_inner();
    }
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/pictures").join(name)).unwrap()
}

/// A candidate with its reference and texts.
#[derive(Clone, Deserialize)]
struct Row {
    candidate: String,
    reference: String,
    instruction: Option<String>,
    caption: Option<String>,
}

fn rows() -> Vec<Row> {
    let row = |candidate: &str, reference: &str, instruction: &str| Row {
        candidate: candidate.to_owned(),
        reference: reference.to_owned(),
        instruction: Some(instruction.to_owned()),
        caption: Some(format!("a picture, {instruction}")),
    };
    vec![
        row("animal/elephant.png", "animal/elephant.png", "small"),
        row("animal/parrot.png", "animal/elephant.png", "on red"),
        row("vehicle/taxi.png", "animal/penguin.png", "on red"),
        row("gradient", "animal/elephant.png", "tilted"),
        row("food/pizza.png", "animal/penguin.png", "small"),
    ]
}

fn images(files: Vec<Option<Vec<u8>>>) -> Column {
    let bytes = Series::new("bytes".into(), files.iter().map(|file| file.as_deref()).collect::<Vec<_>>());
    let path = Series::new("path".into(), vec![None::<&str>; bytes.len()]);
    StructChunked::from_series("image".into(), bytes.len(), [bytes, path].iter()).unwrap().into_series().into()
}

/// References, pairs and candidates of `rows`; files of pictures by `file`.
fn bench(rows: &[Row], file: impl Fn(&str) -> Option<Vec<u8>>) -> Bench {
    let mut bench = Bench::new();
    let mut references: Vec<&str> = rows.iter().map(|row| row.reference.as_str()).collect();
    references.sort_unstable();
    references.dedup();
    let mut table = df!("reference_id" => &references).unwrap();
    table.with_column(images(references.iter().map(|name| file(name)).collect())).unwrap();
    bench.put(tables::REFERENCES, vec![table]);
    let pair_ids: Vec<String> = (0..rows.len()).map(|row| format!("p{row}")).collect();
    let text = |of: fn(&Row) -> &Option<String>| rows.iter().map(|row| of(row).clone()).collect::<Vec<_>>();
    let pairs = df!(
        "pair_id" => &pair_ids,
        "reference_id" => rows.iter().map(|row| row.reference.as_str()).collect::<Vec<_>>(),
        "instruction" => text(|row| &row.instruction),
        "caption" => text(|row| &row.caption),
    );
    // Joins are by id, not by position.
    bench.put(tables::PAIRS, vec![pairs.unwrap().reverse()]);
    let ids: Vec<String> = (0..rows.len()).map(|row| format!("c{row}")).collect();
    let mut candidates = df!("candidate_id" => ids, "pair_id" => pair_ids).unwrap();
    candidates.with_column(images(rows.iter().map(|row| file(&row.candidate)).collect())).unwrap();
    bench.put(tables::CANDIDATES, vec![candidates]);
    bench
}

/// What all nodes make of the rows of `bench`: that of the last, and what each of the others quarantined.
fn score(bench: &mut Bench, nodes: &[NodeDecl]) -> (DataFrame, Vec<Ran>) {
    let mut ran: Vec<Ran> = nodes.iter().map(|node| bench.run_on(node)).collect();
    let last = ran.pop().unwrap();
    (last.tables[tables::SCORES].clone(), ran)
}

fn floats(scores: &DataFrame, name: &str) -> Vec<Option<f32>> {
    scores.column(name).unwrap().f32().unwrap().iter().collect()
}

fn near(one: &[Option<f32>], other: &[Option<f32>], most: f32) {
    assert_eq!(one.len(), other.len());
    for (a, b) in one.iter().zip(other) {
        let same = match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= most,
            (a, b) => a.is_none() && b.is_none(),
        };
        assert!(same, "{one:?} and {other:?} differ by more than {most}");
    }
}

const COSINES: [&str; 4] = ["clip_instruction", "clip_caption", "clip_image", "dino"];

/// The numbers are PyTorch's, made by `golden.py`. When this fails, the same pictures have other scores: a bug; or they
/// are meant to: raise `OUTPUT_VERSION`; or the bundled weights are others: run `golden.py`. Floating point differs
/// between processors, so that there is no digest of bytes.
#[test]
fn scores_are_golden() {
    assert_eq!(super::compile::OUTPUT_VERSION, 1);
    let text = include_str!("golden.json");
    let (rows, golden): (Vec<Row>, Vec<Value>) =
        (serde_json::from_str(text).unwrap(), serde_json::from_str(text).unwrap());
    let mut bench = bench(&rows, |name| Some(picture(name)));
    let (scores, _) = score(&mut bench, &compile(json!({})));
    let wanted = |name: &str| golden.iter().map(|row| row[name].as_f64().map(|value| value as f32)).collect::<Vec<_>>();
    for name in COSINES.into_iter().chain(["background_similarity"]) {
        near(&floats(&scores, name), &wanted(name), 1e-4);
    }
    assert_eq!(floats(&scores, "clip"), floats(&scores, "clip_instruction"));
    for (found, row) in scores.column("sharpness").unwrap().f64().unwrap().iter().zip(&golden) {
        let (found, wanted) = (found.unwrap(), row["sharpness"].as_f64().unwrap());
        assert!((found / wanted - 1.0).abs() < 1e-9, "{found} is not {wanted}");
    }
    let hashes = scores.column("phash").unwrap().str().unwrap();
    for (found, row) in hashes.iter().zip(&golden) {
        // Coefficients at the median fall either way: pictures are shrunk with other rounding than Pillow's.
        let bits = |hash: Option<&str>| u64::from_str_radix(hash.unwrap(), 16).unwrap();
        let n_other = (bits(found) ^ bits(row["phash"].as_str())).count_ones();
        assert!(n_other <= 6, "{found:?} is {n_other} bits from {}", row["phash"]);
    }
}

#[test]
fn a_row_is_scored_alone_as_among_others_and_twice_the_same() {
    let rows = rows();
    let of = |rows: &[Row], config: Value| {
        let nodes = compile(config);
        score(&mut bench(rows, |name| Some(picture(name))), &nodes).0
    };
    let all = of(&rows, json!({}));
    assert!(all.equals_missing(&of(&rows, json!({}))), "the same command made other bytes");
    for batch in [1, 3] {
        let other = of(&rows, json!({ "batch": batch }));
        for name in COSINES {
            near(&floats(&all, name), &floats(&other, name), 1e-5);
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let alone = of(std::slice::from_ref(row), json!({}));
        for name in COSINES.into_iter().chain(["background_similarity"]) {
            near(&[floats(&all, name)[at]], &floats(&alone, name), 1e-5);
        }
    }
}

/// A folder in the layout of Hugging Face, without ONNX, as checkpoints are published.
fn without_onnx() -> tempfile::TempDir {
    let family = tempfile::tempdir().unwrap();
    for role in ["clip_filter", "dino_filter"] {
        std::fs::create_dir(family.path().join(role)).unwrap();
        for entry in std::fs::read_dir(mini().join(role)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "onnx") {
                std::fs::copy(&path, family.path().join(role).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    family
}

#[test]
fn a_family_without_onnx_runs_on_the_engine_with_the_same_scores() {
    let family = without_onnx();
    let plain = compile_in(family.path(), json!({})).unwrap();
    let onnx = compile(json!({}));
    let backend = |nodes: &[NodeDecl]| match &nodes[0].work {
        Work::Rows(work) => work.backend(),
        Work::Whole(_) => panic!("not of rows"),
    };
    assert_eq!(backend(&plain), "candle");
    // Which of the two depends on what the tests were started with.
    assert!(["tract", "onnxruntime"].contains(&backend(&onnx).as_str()));
    let of = |nodes: &[NodeDecl]| score(&mut bench(&rows(), |name| Some(picture(name))), nodes).0;
    let (one, other) = (of(&plain), of(&onnx));
    for name in COSINES {
        near(&floats(&one, name), &floats(&other, name), 1e-4);
    }
}
