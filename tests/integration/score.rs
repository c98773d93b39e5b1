//! `score` through the program: on tract and on onnxruntime, damaged pictures, kills.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::program::{Project, Ran};

/// Pairs of a folder are imported, scored by the bundled family, and filtered.
const MANIFEST: &str = r#"
version = 1
seed = 5
[[stage]]
kind = "import"
name = "import"
source = { type = "folder", path = "pictures" }
shard_rows = 5
[[stage]]
kind = "score"
name = "score"
needs = ["import"]
batch = 2
[[stage]]
kind = "filter"
name = "filter"
needs = ["score"]
preset = "mini-1"
"#;

const RUN: [&str; 5] = ["run", "--progress", "plain", "--lease", "3"];

/// Twelve pairs: each animal with itself or with a food, and one target that is no picture.
fn project() -> Project {
    let project = Project::new(MANIFEST);
    project.pictures(&["animal", "food"]);
    let (animals, foods) = (project.names("animal"), project.names("food"));
    let mut table = "reference,target,instruction,caption\n".to_owned();
    for (animal, food) in animals.iter().zip(&foods).take(6) {
        table.push_str(&format!("{animal},{animal},put it on red,an animal on a red background\n"));
        table.push_str(&format!("{animal},{food},make it small,a small animal\n"));
    }
    project.write("pictures/metadata.csv", table.as_bytes());
    project
}

fn scores(project: &Project) -> BTreeMap<String, [f64; 4]> {
    let sql = "SELECT candidate_id, clip_instruction, clip_caption, clip_image, dino FROM scores";
    let ran = project.cafe(&["query", "--format", "json", sql]).ends(0);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let of = |row: &Value| {
        ["clip_instruction", "clip_caption", "clip_image", "dino"].map(|name| row[name].as_f64().unwrap())
    };
    rows.iter().map(|row| (row["candidate_id"].as_str().unwrap().to_owned(), of(row))).collect()
}

fn backend(project: &Project, node: &str) -> String {
    let sql = format!("SELECT DISTINCT backend FROM shards WHERE node = '{node}'");
    project.cafe(&["query", "--format", "csv", &sql]).ends(0).stdout.lines().nth(1).unwrap().to_owned()
}

fn run_with(project: &Project, library: &PathBuf) -> Ran {
    project.command(&RUN).env("ORT_DYLIB_PATH", library).output().unwrap().into()
}

#[test]
fn pairs_are_scored_and_filtered_on_tract_and_the_books_balance() {
    let project = project();
    let ran = project.cafe(&RUN).ends(0);
    assert_eq!(ran.stderr.matches("run on tract").count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning:"), "mini-1 fits the bundled weights: {}", ran.stderr);
    assert_eq!((backend(&project, "score.clip").as_str(), backend(&project, "score.phash").as_str()), ("tract", "cpu"));
    let scores = scores(&project);
    assert_eq!(scores.len(), 12);
    let alike = scores.values().filter(|[_, _, clip, dino]| *clip > 0.9999 && *dino > 0.9999).count();
    assert_eq!(alike, 6, "a picture is like itself, and no food is like an animal: {scores:?}");
    project.cafe(&["audit", "--verify"]).ends(0);
    assert!(project.cafe(&RUN).ends(0).stderr.contains("plan: 0 shards to make"));
}

/// Needs the library: `ORT_DYLIB_PATH=…/libonnxruntime.so.1.32.0 cargo test`.
#[test]
fn onnxruntime_gives_the_scores_of_tract() {
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from) else {
        eprintln!("not compared: ORT_DYLIB_PATH names no onnxruntime");
        return;
    };
    let (one, other) = (project(), project());
    one.cafe(&RUN).ends(0);
    let ran = run_with(&other, &library).ends(0);
    assert!(!ran.stderr.contains("tract"), "{}", ran.stderr);
    assert_eq!(backend(&other, "score.dino"), "onnxruntime");
    let (one, other) = (scores(&one), scores(&other));
    assert_eq!(one.len(), 12);
    for (id, values) in &one {
        for (a, b) in values.iter().zip(&other[id]) {
            assert!((a - b).abs() < 1e-4, "{id}: {values:?} and {:?}", other[id]);
        }
    }
}

#[test]
fn a_library_that_is_none_stops_the_stage_and_says_what_to_do() {
    let project = project();
    let library = project.path("libonnxruntime.so");
    std::fs::write(&library, "no library").unwrap();
    let ran = run_with(&project, &library).ends(4);
    assert!(ran.stderr.contains("stage score was stopped: cannot load onnxruntime from"), "{}", ran.stderr);
    assert!(ran.stderr.contains("unset it"), "{}", ran.stderr);
    // What is there stays, and the same command goes on without it.
    project.cafe(&RUN).ends(0);
}

#[test]
fn the_plan_warns_where_a_preset_meets_other_weights() {
    let project = project();
    project.write("cafe.toml", MANIFEST.replace("mini-1", "cafe-2023").as_bytes());
    let ran = project.cafe(&["plan"]).ends(0);
    let warning = "warning: filter: `dino >= 0.6` of the preset cafe-2023 was found with DINO ViT-S/16";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    let json: Value = serde_json::from_str(&project.cafe(&["plan", "--json"]).ends(0).stdout).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
}

#[test]
fn killed_while_scoring_it_ends_with_the_same_bytes() {
    let undisturbed = project();
    undisturbed.cafe(&RUN).ends(0);
    let wanted = undisturbed.dataset();
    // Each in a project of its own: how much one kill leaves for the next depends on who was how far.
    for points in ["journal_synced=kill@2", "shard_renamed=kill@9", "shard_committed=kill@6"] {
        let project = project();
        let ran = project.failing(points, &RUN);
        assert_eq!(ran.code, None, "{points} was not met: {}", ran.stderr);
        project.cafe(&RUN).ends(0);
        assert_eq!(project.dataset(), wanted, "{points}");
    }
}

#[test]
fn another_scorer_computes_only_itself() {
    let project = project();
    let without = MANIFEST.replace("batch = 2", "scorers = [\"clip\", \"dino\"]");
    project.write("cafe.toml", without.as_bytes());
    project.cafe(&RUN).ends(0);
    let before = project.dataset();
    project.write("cafe.toml", MANIFEST.as_bytes());
    let ran = project.cafe(&RUN).ends(0);
    let after = project.dataset();
    for name in ["clip_scores/score.clip/0", "dino_scores/score.dino/1"] {
        assert_eq!(before[name], after[name]);
    }
    assert!(!ran.stderr.contains("run on tract"), "no model was needed: {}", ran.stderr);
    assert!(after.contains_key("phash_scores/score.phash/0") && !before.contains_key("phash_scores/score.phash/0"));
}
