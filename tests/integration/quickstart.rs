//! The quickstart, small: every stage on the bundled models, killed and gone on with.

use crate::support::program::{Project, made_small};

const QUICKSTART: &str = include_str!("../../manifests/quickstart.toml");

/// Fewer steps, and thresholds that pictures of two steps pass. `demo` takes the manifest that is there already.
fn project() -> Project {
    let manifest = made_small(
        QUICKSTART,
        &[
            ("per_reference = 4", "per_reference = 2"),
            ("steps = 12", "steps = 2"),
            ("steps = 10", "steps = 2"),
            ("iterations = 10", "iterations = 1"),
            ("augmentations = 7", "augmentations = 1"),
            ("tries = 2", "tries = 1"),
            ("preset = \"mini-1\"", "rules = [{ column = \"clip\", min = -1.0 }, { column = \"dino\", min = -1.0 }]"),
        ],
    );
    let project = Project::new(&manifest.replace("shard_rows = 4", "shard_rows = 2"));
    // Three references, in two shards.
    project.pool(3);
    project
}

#[test]
fn without_a_language_model_all_but_the_dialogues_is_done_and_a_kill_changes_nothing() {
    let whole = project();
    let ran = whole.cafe(&["run"]).ends(75);
    assert!(ran.stderr.contains("cafe-data models fetch smollm2-135m"), "{}", ran.stderr);
    let counts = whole.cafe(&[
        "query",
        "SELECT generator, count(*) AS n FROM candidates GROUP BY generator ORDER BY generator",
        "--format",
        "csv",
    ]);
    // Three references with two instructions: one by ProFusion, and one by Eq. 4 for each of three α.
    assert_eq!(counts.ends(0).stdout, "generator,n\nprofusion,6\nsid,18\n");
    whole.cafe(&["audit", "--verify"]).ends(0);
    let id = whole.cafe(&["query", "SELECT candidate_id FROM candidates LIMIT 1", "--format", "csv"]).ends(0).stdout;
    let trace = whole.cafe(&["audit", "--trace", id.lines().nth(1).unwrap()]).ends(0).stdout;
    for word in ["reference", "instruction", "seed", "clip", "dino", "accepted"] {
        assert!(trace.contains(word), "`{word}` is not told:\n{trace}");
    }

    let killed = project();
    for points in ["shard_renamed=kill@3", "shard_renamed=kill@7"] {
        assert_eq!(killed.failing(points, &["run"]).code, None);
    }
    killed.cafe(&["run"]).ends(75);
    assert_eq!(killed.dataset(), whole.dataset());
}

#[test]
fn the_demo_ends_with_what_became_of_the_candidates_and_a_report() {
    let project = project();
    let ran = project.cafe(&["demo", "--dir", "."]).ends(75);
    for told in ["balanced", "profusion", "sid", "report.html"] {
        assert!(ran.stdout.contains(told), "`{told}` is not told:\n{}", ran.stdout);
    }
    assert!(std::fs::read_to_string(project.path("report.html")).unwrap().contains("data:image/"));
    let again = project.cafe(&["demo", "--dir", "."]).ends(75);
    assert!(again.stdout.contains("sid"), "{}", again.stdout);
}
