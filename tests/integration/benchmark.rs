//! Pictures of a benchmark in the folder that is collected, through the program.

use std::path::Path;

use image::imageops::{FilterType, resize};
use serde_json::{Value, json};

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
fn plan_and_run_tell_what_was_kept_out_as_soon_as_a_scan_has_it() {
    const TOLD: &str = "warning: collect: 1 row kept out for the benchmark dreambench: food/cake.png\n";
    let project = project();
    let told = |args: &[&str], code| project.cafe(args).ends(code).stderr.matches(TOLD).count();
    assert_eq!(told(&["plan"], 0), 0, "nothing was scanned yet");
    assert_eq!(told(&["run", "--progress", "plain"], 4), 1, "found by this run");
    assert_eq!(told(&["run", "--progress", "plain"], 4), 1, "known before this run");
    assert_eq!(told(&["plan"], 0), 1);
    let plan: Value = serde_json::from_str(&project.cafe(&["plan", "--json"]).ends(0).stdout).unwrap();
    let wanted = json!([{
        "stage": "collect", "benchmark": "dreambench", "on_match": "quarantine", "rows": ["food/cake.png"],
    }]);
    assert_eq!(plan["kept_out"], wanted);
}

#[test]
fn a_benchmark_that_refuses_stops_the_stage_and_then_the_plan() {
    const FOUND: &str = "1 row kept out for the benchmark dreambench: food/cake.png";
    let project = project();
    let strict = MANIFEST.replace("path = \"dreambench\" }", "path = \"dreambench\", on_match = \"refuse\" }");
    project.write("cafe.toml", strict.as_bytes());
    project.cafe(&["plan"]).ends(0);
    let ran = project.cafe(&["run", "--progress", "plain"]).ends(4);
    let wanted = format!("stage collect was stopped: {FOUND}; take them out of the source, or");
    assert!(ran.stderr.contains(&wanted), "{}", ran.stderr);
    // The whole source was scanned, and nothing made of it.
    let count = |table: &str| rows(&project, &format!("SELECT count(*) AS n FROM {table}"))[0]["n"].clone();
    assert_eq!((count("scanned"), count("references")), (json!(8), json!(0)));
    for args in [&["plan"][..], &["run", "--progress", "none"]] {
        let refused = project.cafe(args).ends(3);
        assert!(refused.stderr.contains(&format!("error: collect: {FOUND}\n")), "{}", refused.stderr);
        assert!(refused.stderr.contains("on_match = \"quarantine\""), "{}", refused.stderr);
    }

    // The scan holds for both ways; and what was made in one way is refused in the other.
    project.write("cafe.toml", MANIFEST.as_bytes());
    project.cafe(&["run", "--progress", "plain"]).ends(4);
    assert_eq!(count("references"), json!(8));
    project.write("cafe.toml", strict.as_bytes());
    project.cafe(&["plan"]).ends(3);

    std::fs::remove_file(project.path("pictures/food/cake.png")).unwrap();
    project.cafe(&["plan"]).ends(0);
    project.cafe(&["run", "--progress", "plain"]).ends(0);
    assert_eq!(count("references"), json!(8));
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
