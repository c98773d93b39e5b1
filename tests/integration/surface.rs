//! What a user meets: commands, exit codes, messages, files that must be current.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::program::{PROGRAM, Project};

const PAIRS: &str = include_str!("../../manifests/pairs.toml");
const ALL: [&str; 8] = ["animal", "food", "plant", "toy", "vehicle", "building", "clothing", "instrument"];

/// The manifest `pairs`, without labels: classes are taken from folders.
fn pairs() -> Project {
    let project =
        Project::new(&PAIRS.replace(r#"path = "pictures" }"#, r#"path = "pictures", class_from_folder = true }"#));
    project.pictures(&ALL);
    project
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_manifest_to_begin_with_compiles() {
    let project = Project::new("");
    let list = project.cafe(&["init", "--list"]).ends(0).stdout;
    assert!(list.lines().count() >= 3, "{list}");
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        project.cafe(&["init", name, "--from", name]).ends(0);
        let manifest = format!("{name}/cafe.toml");
        let ran = project.cafe(&["plan", "-m", &manifest]);
        // Pictures and files of the user's own are not there yet; all else must be right.
        let mistakes: Vec<&str> = ran.stderr.lines().filter(|line| !line.contains("there is no ")).collect();
        assert!(ran.code == Some(0) || mistakes.is_empty(), "{name}: {}", ran.stderr);
        project.cafe(&["init", name, "--from", name]).ends(2);
    }
    let ran = project.cafe(&["init", "x", "--from", "nothing"]).ends(2);
    assert!(ran.stderr.contains("there are: "), "{}", ran.stderr);
}

#[test]
fn the_papers_trial_is_estimated_at_what_it_took() {
    let manifest = include_str!("../../manifests/faces-ffhq.toml").replace("model_family = \"paper\"", "");
    let project = Project::new(&manifest);
    project.cafe(&["init", "templates", "--from", "faces-ffhq"]).ends(0);
    std::fs::rename(project.path("templates/templates"), project.path("words")).unwrap();
    let manifest = manifest.replace("templates/paper.toml", "words/paper.toml");
    project.write("cafe.toml", manifest.replace("templates/held-out.toml", "words/held-out.toml").as_bytes());
    // A hundredth of the photographs, and never opened: a plan reads names only.
    std::fs::create_dir(project.path("ffhq")).unwrap();
    for number in 0..700 {
        project.write(&format!("ffhq/{number:05}.png"), b"");
    }
    let plan: serde_json::Value = serde_json::from_str(&project.cafe(&["plan", "--json"]).ends(0).stdout).unwrap();
    let estimate = |stage: &str| {
        let nodes = plan["nodes"].as_array().unwrap().iter();
        nodes.map(|node| &node["estimate"]).find(|estimate| estimate["node"] == stage).unwrap().clone()
    };
    let hours = estimate("synthesize")["device_ms"].as_f64().unwrap() / 3_600_000.0;
    assert!((95.0..=105.0).contains(&hours), "{hours} of the paper's 10,000 hours / 100");
    assert_eq!(estimate("score.clip")["n_rows"], 29_400);
    let n_said = estimate("dialogue")["n_out"].as_f64().unwrap();
    assert!((1_950.0..=2_150.0).contains(&n_said), "{n_said} of the paper's 207,000 / 100");
    let text = project.cafe(&["plan"]).ends(0).stdout;
    assert!(text.contains("98 h") || text.contains("4 d"), "{text}");
}

#[test]
fn a_bad_manifest_starts_nothing_and_names_every_mistake() {
    let project = Project::new(
        "version = 1\nsed = 3\n[[stage]]\nkind = \"colect\"\nname = \"a\"\n[[stage]]\nkind = \"filter\"\nname = \"b\"\nneeds = [\"c\"]\n",
    );
    let ran = project.cafe(&["run"]).ends(3);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(lines.len() >= 3 && lines.iter().all(|line| line.starts_with("cafe.toml:")), "{}", ran.stderr);
    assert!(ran.stderr.contains("cafe.toml:2:1") && ran.stderr.contains("seed"), "{}", ran.stderr);
    assert!(!project.path("cafe.db").is_file() && !project.path("data").is_dir(), "something was begun");
    let ran = project.cafe(&["run", "-m", "nothing.toml"]).ends(3);
    assert!(ran.stderr.contains("nothing.toml"), "{}", ran.stderr);
    project.cafe(&["run", "--lease", "-1"]).ends(2);
    project.cafe(&["run", "stage", "a", "--shard", "4/4"]).ends(2);
}

#[test]
fn plan_explains_what_a_change_costs_and_adopt_keeps_it() {
    let project = pairs();
    let plan = project.cafe(&["plan", "--json"]).ends(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["nodes"].as_array().unwrap().len(), 8);
    assert_eq!(plan["held_out"]["instruct"].as_array().unwrap().len(), 20);
    project.cafe(&["run"]).ends(0);
    assert_eq!(project.cafe(&["plan", "--explain"]).ends(0).stdout, "nothing changed since the last run\n");
    let dot = project.cafe(&["plan", "--dot"]).ends(0).stdout;
    assert!(dot.starts_with("digraph") && dot.contains("publish"), "{dot}");

    let before = project.dataset();
    let manifest = std::fs::read_to_string(project.path("cafe.toml")).unwrap();
    project.write("cafe.toml", manifest.replace("min = 15.0", "min = 25.0").as_bytes());
    let text = project.cafe(&["plan", "--explain"]).ends(0).stdout;
    assert!(text.contains("filter: /settings/rules"), "{text}");
    assert!(text.contains("invalidates 4 shards of filter") && !text.contains("of measure"), "{text}");
    let ran = project.cafe(&["run", "--progress", "json"]).ends(0);
    assert!(!ran.stderr.contains("\"node\":\"measure\",\"shard_index\""), "scores were made again: {}", ran.stderr);

    project.write("cafe.toml", manifest.replace("seed = 7", "seed = 8").as_bytes());
    project.cafe(&["plan", "--adopt", "measure", "--reason", "the seed plays no part in it"]).ends(0);
    project.write("cafe.toml", manifest.as_bytes());
    project.cafe(&["run"]).ends(0);
    // The release in between stays: it was published.
    let mut after = project.dataset();
    after.retain(|file, _| before.contains_key(file));
    assert_eq!(after, before, "going back did not bring the same dataset back");

    let calm = project.cafe(&["run", "--progress", "plain"]).ends(0).stderr;
    assert!(!calm.contains("the settings changed"), "{calm}");
    project.write("cafe.toml", manifest.replace("seed = 7", "seed = 9").as_bytes());
    let said = project.cafe(&["run", "--progress", "plain"]).ends(0).stderr;
    let first = said.lines().next().unwrap_or_default();
    assert!(first.contains("the settings changed; ") && first.contains("shards, which took"), "{said}");
}

#[test]
fn recut_makes_a_release_from_stored_scores() {
    let project = pairs();
    project.cafe(&["recut", "--min", "colourfulness=30"]).ends(2);
    project.cafe(&["run"]).ends(0);
    let dry = project.cafe(&["recut", "--min", "colourfulness=30", "--dry-run"]).ends(0);
    assert!(dry.stderr.contains("invalidates"), "{}", dry.stderr);
    let ran = project.cafe(&["recut", "--min", "colourfulness=30", "--progress", "json"]).ends(0);
    assert!(!ran.stderr.contains("\"event\":\"committed\",\"node\":\"measure\""), "{}", ran.stderr);
    let releases =
        project.cafe(&["query", "SELECT release_id, n_rows FROM catalog_releases", "--format", "csv"]).ends(0).stdout;
    assert_eq!(releases.lines().count(), 3, "{releases}");
    let ran = project.cafe(&["recut", "--min", "clip=0.3"]).ends(2);
    assert!(ran.stderr.contains("no filter of the manifest has a rule for `clip`"), "{}", ran.stderr);
}

#[test]
fn queries_read_and_only_read() {
    let project = pairs();
    let ran = project.cafe(&["query", "SELECT 1"]).ends(2);
    assert!(ran.stderr.contains("nothing was run yet"), "{}", ran.stderr);
    project.cafe(&["run"]).ends(0);
    let tables = project.cafe(&["query", "SHOW TABLES"]).ends(0).stdout;
    for table in ["references", "pairs", "scores", "verdicts", "quadruplets", "shards", "ledger", "quarantine"] {
        assert!(tables.contains(table), "{table} is missing:\n{tables}");
    }
    let csv = project.cafe(&[
        "query",
        "SELECT class, count(*) AS n FROM references GROUP BY class ORDER BY class",
        "--format",
        "csv",
    ]);
    assert_eq!(csv.ends(0).stdout.lines().nth(1), Some("animal,8"));
    for sql in ["DROP TABLE pairs", "SELECT * FROM refrences", "SELECT nothing FROM pairs", "SELEC 1"] {
        let ran = project.cafe(&["query", sql]).ends(2);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
    let status = project.cafe(&["status", "--json"]).ends(0).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 8);
    assert!(project.cafe(&["status"]).ends(0).stdout.contains("publish.pack"));
}

#[test]
fn programs_are_trusted_once_and_changed_ones_ask_again() {
    let manifest = r#"
version = 1
[[stage]]
kind = "collect"
name = "collect"
source = { type = "folder", path = "pictures" }
[[stage]]
kind = "command"
name = "weigh"
needs = ["collect"]
argv = ["/bin/sh", "weigh.sh", "{input}", "{output}"]
reads = "references"
columns = ["image"]
writes = "scores"
output = { sharpness = "float64" }
"#;
    let project = Project::new(manifest);
    project.pictures(&["toy"]);
    let script = format!("'{PROGRAM}' measure \"$1\" \"$2\"");
    project.write("weigh.sh", script.as_bytes());
    let ran = project.cafe(&["run"]).ends(2);
    assert!(
        ran.stderr.contains("weigh: /bin/sh weigh.sh") && ran.stderr.contains("--allow-commands"),
        "{}",
        ran.stderr
    );
    project.cafe(&["run", "--allow-commands"]).ends(0);
    project.cafe(&["run"]).ends(0);
    project.write("weigh.sh", format!("# changed\n{script}").as_bytes());
    project.cafe(&["run"]).ends(2);
}

#[test]
fn a_spent_budget_stops_the_run_and_a_raised_one_goes_on() {
    let project = pairs();
    let manifest = std::fs::read_to_string(project.path("cafe.toml")).unwrap();
    let budget = |hours: &str| manifest.replace("seed = 7\n", &format!("seed = 7\n[budget]\nworker_hours = {hours}\n"));
    project.write("cafe.toml", budget("0.000001").as_bytes());
    let ran = project.cafe(&["run"]).ends(6);
    assert!(ran.stderr.contains("budget.worker_hours"), "{}", ran.stderr);
    project.write("cafe.toml", budget("1").as_bytes());
    project.cafe(&["run"]).ends(0);
}

#[test]
fn a_preview_goes_through_the_whole_dag() {
    let project = pairs();
    project.cafe(&["run", "--sample", "8"]).ends(0);
    let n = project.cafe(&["query", "SELECT count(*) AS n FROM references", "--format", "csv"]).ends(0).stdout;
    assert_eq!(n.lines().nth(1), Some("8"));
    project.cafe(&["run"]).ends(0);
    project.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn doctor_names_what_there_is() {
    let project = Project::new("");
    let text = project.cafe(&["doctor"]).ends(0).stdout;
    for what in ["cafe-data", "threads", "memory", "catalog", "disk", "python3"] {
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn the_schema_for_editors_is_current() {
    let project = Project::new("");
    let schema = project.cafe(&["schema"]).ends(0).stdout;
    let written = std::fs::read_to_string(root().join("manifests/cafe.schema.json")).unwrap_or_default();
    assert!(schema == written, "manifests/cafe.schema.json is not current: just schema");
}

/// DESIGN: src → stages → pipeline, src → catalog → pipeline, and nothing else.
#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut edges = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let (from, to) = (package["name"].as_str().unwrap(), dependency["name"].as_str().unwrap());
            if to.starts_with("cafe-") {
                edges.insert((from, to));
            }
        }
    }
    let allowed = [
        ("cafe-catalog", "cafe-pipeline"),
        ("cafe-data", "cafe-catalog"),
        ("cafe-data", "cafe-engine"),
        ("cafe-data", "cafe-pipeline"),
        ("cafe-data", "cafe-stages"),
        ("cafe-stages", "cafe-engine"),
        ("cafe-stages", "cafe-pipeline"),
    ];
    assert_eq!(edges, BTreeSet::from(allowed));
}

/// Each `console` block of the README is a session in a fresh folder: its commands are run, in order.
#[test]
fn the_examples_of_the_readme_run() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let project = Project::new("");
    std::fs::remove_file(project.path("cafe.toml")).unwrap();
    project.pictures(&["animal", "food"]);
    let mut n_commands = 0;
    for block in readme.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let Some(command) = line.strip_prefix("$ cafe-data ") else { continue };
            let script = format!("'{PROGRAM}' {command}");
            let output = Command::new("/bin/sh")
                .args(["-c", &script])
                .current_dir(project.dir.path())
                .env("XDG_STATE_HOME", project.path("state"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            n_commands += 1;
        }
    }
    assert!(n_commands >= 8, "only {n_commands} commands in the README");
}
