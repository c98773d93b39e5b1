//! One round of self-distillation, small: seed data, a training, and what the trained weights draw.

use crate::support::program::{Project, made_small};

const MANIFEST: &str = include_str!("../../manifests/sid-one-round.toml");

/// Two references, one instruction each, as few steps as there can be, and thresholds that all pass.
fn project() -> Project {
    let manifest = made_small(
        MANIFEST,
        &[
            ("per_reference = 2", "per_reference = 1"),
            ("steps = 12", "steps = 2"),
            ("steps = 10", "steps = 2"),
            ("steps = 20", "steps = 3"),
            ("iterations = 10", "iterations = 1"),
            ("augmentations = 7", "augmentations = 1"),
            ("tries = 2", "tries = 1"),
            ("batch_size = 4", "batch_size = 2"),
            ("save_every = 10", "save_every = 1"),
            ("column = \"dino\", min = 0.3", "column = \"dino\", min = -1.0"),
            ("preset = \"mini-1\"", "rules = [{ column = \"dino\", min = -1.0 }]"),
        ],
    );
    let project = Project::new(&manifest);
    project.pool(2);
    project
}

fn csv(project: &Project, sql: &str) -> String {
    project.cafe(&["query", sql, "--format", "csv"]).ends(0).stdout
}

#[test]
fn what_was_published_trains_the_model_that_draws_the_next_round() {
    let project = project();
    project.cafe(&["run"]).ends(0);
    project.cafe(&["audit", "--verify"]).ends(0);
    assert_eq!(
        csv(
            &project,
            "SELECT generator, round, count(*) AS n FROM candidates GROUP BY generator, round ORDER BY round"
        ),
        "generator,round,n\nprofusion,0,2\nsid,1,4\n"
    );
    let report = project.cafe(&["report", "--json"]).ends(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let (seed, distilled) = (&report["comparison"]["sets"][0], &report["comparison"]["sets"][1]);
    assert!(seed["name"] == "profusion, round 0" && distilled["name"] == "sid, round 1", "{report}");
    let secs = |set: &serde_json::Value, key: &str| set[key].as_f64().unwrap();
    let in_all = secs(seed, "device_secs") + secs(distilled, "device_secs");
    assert!((secs(distilled, "device_secs_in_all") - in_all).abs() < 1e-6, "the round before is not counted: {report}");
    let weights = csv(&project, "SELECT role, n_steps, n_pairs, path FROM weights");
    let row = weights.lines().nth(1).unwrap();
    assert!(row.starts_with("cafe_unet,3,2,weights/"), "{weights}");
    let folder = project.path("data").join(row.rsplit(',').next().unwrap());
    assert!(folder.join("diffusion_pytorch_model.safetensors").is_file());

    // Other steps are other weights, and all that these draw; nothing before the training is made again.
    let before = project.dataset();
    let manifest = std::fs::read_to_string(project.path("cafe.toml")).unwrap();
    project.write("cafe.toml", manifest.replace("learning_rate = 1e-4", "learning_rate = 2e-4").as_bytes());
    project.cafe(&["run"]).ends(0);
    let after = project.dataset();
    assert_ne!(csv(&project, "SELECT path FROM weights").lines().last(), weights.lines().last());
    for (name, bytes) in &before {
        if ["/fuse/", "/retrieve/", "/instruct/"].iter().any(|stage| name.contains(stage)) {
            assert_eq!(after.get(name), Some(bytes), "{name}");
        }
    }
    let drawn = |dataset: &std::collections::BTreeMap<_, _>| {
        let mut drawn = dataset.clone();
        drawn.retain(|name: &String, _| name.starts_with("candidates/distil/"));
        drawn
    };
    assert_ne!(drawn(&before), drawn(&after));

    // Weights that were damaged are trained again when they are met.
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    project.write("cafe.toml", manifest.replace("round = 1", "round = 2").as_bytes());
    project.cafe(&["run"]).ends(0);
    project.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn killed_anywhere_it_ends_with_the_same_bytes() {
    let whole = project();
    whole.cafe(&["run"]).ends(0);
    let killed = project();
    // Each is met, however far the others were when the one before came.
    for points in
        ["journal_synced=kill@1", "release_published=kill@1", "shard_renamed=kill@1", "shard_committed=kill@1"]
    {
        let ran = killed.failing(points, &["run"]);
        assert_eq!(ran.code, None, "{points} was not met: {}", ran.stderr);
    }
    killed.cafe(&["run"]).ends(0);
    assert_eq!(killed.dataset(), whole.dataset());
}
