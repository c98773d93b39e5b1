//! `imagine` through the program: what it draws is looked at by a detector that the manifest names.

use std::path::Path;

use crate::support::program::{Project, made_small};

const MANIFEST: &str = r#"
version = 1
seed = 7

[models.seer]
role = "detector"
sources = [{ type = "path", path = "seer" }]

[[stage]]
kind = "imagine"
name = "imagine"
classes = ["toy", "plant"]
samples = 2
sampling = { steps = 2 }
wrong_class = "keep"
[stage.single_subject]
detector = "seer"
labels = { plant = "green thing" }
otherwise = "keep"
"#;

/// A project with a detector of the stage's own tests.
fn project() -> Project {
    let project = Project::new(MANIFEST);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("stages/src/detect/tests/detr");
    for name in ["config.json", "model.onnx", "preprocessor_config.json"] {
        project.write(&format!("seer/{name}"), &std::fs::read(from.join(name)).unwrap());
    }
    project
}

fn number(project: &Project, sql: &str) -> u64 {
    let ran = project.cafe(&["query", sql, "--format", "csv"]).ends(0);
    ran.stdout.lines().nth(1).unwrap().parse().unwrap()
}

#[test]
fn another_check_draws_nothing_again() {
    let project = project();
    project.cafe(&["run"]).ends(0);
    assert_eq!(number(&project, "SELECT count(*) AS n FROM subjects"), 4);
    assert_eq!(number(&project, "SELECT count(*) AS n FROM subjects WHERE n_subjects IS NULL"), 0);
    let attempts = |node: &str| number(&project, &format!("SELECT count(*) AS n FROM ledger WHERE node = '{node}'"));
    assert_eq!((attempts("imagine.draw"), attempts("imagine")), (1, 1));
    let strict = made_small(MANIFEST, &[("otherwise = \"keep\"", "min_score = 0.99")]);
    project.write("cafe.toml", strict.as_bytes());
    let ran = project.cafe(&["run"]);
    // What two steps draw may look like anything.
    assert!(matches!(ran.code, Some(0 | 4)), "{}", ran.stderr);
    assert_eq!((attempts("imagine.draw"), attempts("imagine")), (1, 2));
    project.cafe(&["audit", "--verify"]).ends(0);
    let kept = number(&project, "SELECT count(*) AS n FROM subjects");
    assert_eq!(number(&project, "SELECT count(*) AS n FROM subjects WHERE n_subjects = 1"), kept);
}

#[test]
fn a_detector_is_verified_and_has_a_role_of_its_own() {
    let project = project();
    let said = project.cafe(&["models", "verify", "seer", "--json"]).ends(0).stdout;
    assert!(said.contains("4 queries of 2 classes on tract"), "{said}");
    let other = made_small(MANIFEST, &[("detector = \"seer\"", "detector = \"onnxruntime\"")]);
    project.write("cafe.toml", other.as_bytes());
    let said = project.cafe(&["plan"]).ends(3).stderr;
    assert!(said.contains("has the role library, and here is room for detector"), "{said}");
    std::fs::write(project.path("seer/config.json"), r#"{"model_type": "sam"}"#).unwrap();
    project.write("cafe.toml", MANIFEST.as_bytes());
    let said = project.cafe(&["plan"]).ends(3).stderr;
    assert!(said.contains("cannot use the detector seer") && said.contains("optimum-cli"), "{said}");
    assert!(said.starts_with("cafe.toml:") && said.contains("single_subject.detector"), "{said}");
}
