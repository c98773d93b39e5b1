//! Pictures of a benchmark in the folder that is collected, through the program.

use std::path::Path;

use image::imageops::{FilterType, resize};
use serde_json::Value;

use crate::support::program::Project;

const MANIFEST: &str = r#"
version = 1
[[stage]]
kind = "collect"
name = "collect"
source = { type = "folder", path = "pictures" }
benchmarks = [{ name = "dreambench", path = "dreambench" }]
shard_rows = 4
"#;

fn bundled(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/pictures").join(name)).unwrap()
}

/// Eight pictures of food, and among them an elephant of half the size that the benchmark's has.
fn project() -> Project {
    let project = Project::new(MANIFEST);
    project.pictures(&["food"]);
    let elephant = bundled("animal/elephant.png");
    project.write("dreambench/elephant/00.png", &elephant);
    project.write("dreambench/elephant/LICENSE", b"text");
    let small = resize(&image::load_from_memory(&elephant).unwrap().into_rgba8(), 32, 32, FilterType::Triangle);
    small.save(project.path("pictures/food/cake.png")).unwrap();
    project
}

fn rows(project: &Project, sql: &str) -> Vec<Value> {
    serde_json::from_str(&project.cafe(&["query", "--format", "json", sql]).ends(0).stdout).unwrap()
}

#[test]
fn a_resized_copy_is_quarantined_and_the_books_balance() {
    let project = project();
    project.cafe(&["run", "--progress", "plain"]).ends(4);
    let quarantine = rows(&project, "SELECT node, row_id, class, message FROM quarantine");
    let [row] = &quarantine[..] else { panic!("{quarantine:?}") };
    assert_eq!((&row["node"], &row["row_id"]), (&"collect.scan".into(), &"food/cake.png".into()));
    assert_eq!(row["class"], "benchmark");
    let message = row["message"].as_str().unwrap();
    let begin = "nearly equals elephant/00.png of the benchmark dreambench, which must stay unseen: distance ";
    assert!(message.starts_with(begin) && message.ends_with("benchmark_distance is 10"), "{message}");
    assert_eq!(rows(&project, "SELECT reference_id FROM references").len(), 8);
    project.cafe(&["audit", "--verify"]).ends(0);

    // It is a result, and stays one; a picture that is new in the benchmark may meet what was let in before.
    let again = project.cafe(&["run", "--progress", "plain"]).ends(4);
    assert!(again.stderr.contains("plan: 0 shards to make"), "{}", again.stderr);
    project.write("dreambench/food/00.png", &bundled("food/pizza.png"));
    let text = project.cafe(&["plan", "--explain"]).ends(0).stdout;
    assert!(text.contains("/settings/benchmarks/files"), "{text}");
    project.cafe(&["run", "--progress", "plain"]).ends(4);
    assert_eq!(rows(&project, "SELECT reference_id FROM references").len(), 7);
    project.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn the_plan_refuses_a_benchmark_that_is_not_there() {
    let project = project();
    let refused = |from: &str, to: &str| {
        project.write("cafe.toml", MANIFEST.replace(from, to).as_bytes());
        let ran = project.cafe(&["plan"]).ends(3);
        assert!(ran.stderr.starts_with("cafe.toml:7:"), "{}", ran.stderr);
        ran.stderr
    };
    assert!(refused("path = \"dreambench\"", "path = \"nowhere\"").contains("there is no folder "));
    project.write("empty/README.md", b"nothing to see");
    assert!(refused("path = \"dreambench\"", "path = \"empty\"").contains("holds no picture"));
    assert!(refused("path = \"dreambench\"", "path = \"pictures/food\"").contains("has the pictures of dreambench"));
    assert!(refused("benchmarks = [", "benchmark_distance = 40\nbenchmarks = [").contains("benchmark_distance"));
    assert!(!project.path("cafe.db").is_file(), "something was begun");
}
