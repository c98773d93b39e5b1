//! What makes shards stale, what has to be trusted, and what is refused before anything runs.

use cafe_pipeline::digest::Digest;
use serde_json::json;

use super::*;
use crate::command::{argv_digest, commands_of, trust_digest};

fn pointers(config: Value) -> Vec<(String, String)> {
    let project = Project::new();
    let issues = project.compile(config).unwrap_err();
    issues.into_iter().map(|issue| (issue.pointer, issue.message)).collect()
}

fn with(more: Value) -> Value {
    sh("", more)
}

#[test]
fn an_edited_script_is_another_stage() {
    let project = Project::new();
    let settings = |config: &Value| project.compile(config.clone()).unwrap().settings;
    let mut config = with(json!({ "files": ["lib.txt"] }));
    config["argv"] = json!(["python3", "my.py", "{input}"]);
    std::fs::write(project.path("my.py"), "one").unwrap();
    std::fs::write(project.path("lib.txt"), "one").unwrap();
    let before = settings(&config);
    assert_eq!(before["command"]["files"]["my.py"], json!(Digest::of(b"one")));
    std::fs::write(project.path("lib.txt"), "two").unwrap();
    let after = settings(&config);
    assert_ne!(before, after);
    assert_ne!(argv_digest(&before), argv_digest(&after), "another script must be trusted anew");
}

#[test]
fn deadlines_are_no_part_of_the_result() {
    let project = Project::new();
    let settings = |more: Value| project.compile(with(more)).unwrap().settings;
    let plain = settings(json!({}));
    let patient = json!({ "deadline_secs": 5, "row_deadline_secs": 1, "batch_rows": 3, "journal": false });
    assert_eq!(settings(patient), plain);
    assert_ne!(settings(json!({ "version": 2 })), plain);
    assert_ne!(settings(json!({ "version": "2" })), settings(json!({ "version": 2 })));
    assert_ne!(settings(json!({ "env": ["HF_HOME"] })), plain);
}

#[test]
fn commands_are_listed_for_trust() {
    let project = Project::new();
    let one = project.compile(with(json!({ "env": ["HF_TOKEN"] }))).unwrap().settings;
    let other = json!({ "templates": "x" });
    let commands = commands_of([("collect", &other), ("measure", &one)]);
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].node, "measure");
    assert_eq!(commands[0].argv[0], "/bin/sh");
    assert_eq!(commands[0].env, ["HF_TOKEN"]);
    assert_eq!(Some(commands[0].digest), argv_digest(&one));
    assert_ne!(trust_digest(&commands), trust_digest(&[]));
}

#[test]
fn all_mistakes_are_found_at_once() {
    let config = json!({
        "argv": ["my.py", "{inptu}", "{model_family}", "{"],
        "reads": "scores",
        "writes": "scores",
        "join": { "verdicts": ["accepted"] },
        "env": ["HF_TOKEN=abc"],
        "files": ["missing.py"],
    });
    let found: Vec<String> = pointers(config).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(found, ["/argv/1", "/argv/3", "/argv", "/reads", "/writes", "/join/verdicts", "/files/0", "/env/0"]);
}

#[test]
fn tables_and_columns_must_make_sense() {
    let first = |config: Value| pointers(config).remove(0);
    let mut fixed = with(json!({ "reads": "pairs", "writes": "candidates" }));
    assert_eq!(first(fixed.clone()), ("/output".to_owned(), "the columns of `candidates` are fixed".to_owned()));
    fixed.as_object_mut().unwrap().remove("output");
    fixed["writes"] = json!("mine");
    assert_eq!(first(fixed), ("/writes".to_owned(), "the columns of `mine` are not known".to_owned()));
    let own_id = with(json!({ "output": { "reference_id": "string" } }));
    assert_eq!(first(own_id).0, "/output/reference_id");
    assert_eq!(first(with(json!({ "output": { "_error": "string" } }))).0, "/output/_error");
    assert_eq!(first(with(json!({ "output": {} }))).0, "/output");
    assert_eq!(first(with(json!({ "argv": [] }))).0, "/argv");
    assert_eq!(first(with(json!({ "id_column": "file_digest" }))).0, "/id_column");
    let mut serve = with(json!({ "mode": "serve" }));
    serve["argv"] = json!(["my.py", "{input}"]);
    assert_eq!(first(serve).0, "/argv");
}

#[test]
fn unknown_keys_are_refused() {
    let issues = pointers(with(json!({ "shell": true })));
    assert!(issues[0].1.contains("unknown field `shell`"), "{issues:?}");
}

#[test]
fn only_what_the_program_needs_is_read() {
    let project = Project::new();
    let columns = |more: Value| project.work(with(more)).columns();
    assert_eq!(columns(json!({})), None);
    let named = columns(json!({ "columns": ["image"] })).unwrap();
    assert_eq!(named, ["reference_id", "image"]);
    let joined = json!({
        "reads": "pairs", "columns": ["caption"], "join": { "references": ["image"] },
    });
    assert_eq!(columns(joined).unwrap(), ["pair_id", "caption", "reference_id"]);
}
