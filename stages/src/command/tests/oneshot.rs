//! Exit codes, deadlines, process groups, environments and floods.

use std::thread;
use std::time::{Duration, Instant};

use cafe_pipeline::stage::{ErrorClass, WorkError};
use serde_json::json;

use super::*;
use crate::command::process::TAIL_BYTES;

fn class(result: Result<BatchOutcome, WorkError>) -> (&'static str, String) {
    let error = result.unwrap_err();
    let class = match &error {
        WorkError::Transient(_) => "transient",
        WorkError::Poison { class, .. } => class.as_str(),
        WorkError::Systemic(_) => "systemic",
        WorkError::OutOfMemory(_) => "memory",
        WorkError::Cancelled => "cancelled",
        _ => "other",
    };
    (class, error.to_string())
}

/// Whether the process whose id stands in the file is gone, or will be in a moment.
fn is_gone(project: &Project, pid_file: &str) -> bool {
    let pid = project.read(pid_file).trim().to_owned();
    assert!(!pid.is_empty(), "{pid_file} was not written");
    let stat = Path::new("/proc").join(pid).join("stat");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        // A zombie that nobody reaps yet is as dead.
        match std::fs::read_to_string(&stat) {
            Ok(text) if !text.contains(") Z ") => thread::sleep(Duration::from_millis(10)),
            _ => return true,
        }
    }
    false
}

#[test]
fn exit_codes_say_what_to_do() {
    let project = Project::new();
    let run = |script: &str| class(project.sh(script, json!({}))).0;
    assert_eq!(run("exit 75"), "transient");
    assert_eq!(run("exit 69"), "transient");
    assert_eq!(run("exit 78"), "systemic");
    assert_eq!(run("exit 126"), "systemic");
    assert_eq!(run("exit 127"), "systemic");
    assert_eq!(run("exit 137"), "memory");
    assert_eq!(run("kill -9 $$"), "memory");
    assert_eq!(run("kill -SEGV $$"), "death");
    assert_eq!(run("exit 1"), "program");
}

#[test]
fn its_last_words_are_reported() {
    let project = Project::new();
    let (_, message) = class(project.sh("echo 'no such model: sd9' >&2; exit 3", json!({})));
    assert_eq!(message, "the program exited with code 3; its last words:\nno such model: sd9");
    let (_, message) = class(project.sh("echo 'on stdout'; exit 3", json!({})));
    assert!(message.ends_with("on stdout"), "{message}");
}

#[test]
fn a_missing_program_is_explained() {
    let project = Project::new();
    let config = |program: &str| {
        let mut config = sh("", json!({}));
        config["argv"] = json!([program]);
        config
    };
    let run = |program: &str| class(project.work(config(program)).process(&project.context(), &rows(&["a"])));
    let (kind, message) = run("no-such-program-anywhere");
    assert_eq!(kind, "systemic");
    assert!(message.starts_with("cannot start `no-such-program-anywhere`: no such program. Install it"), "{message}");
    std::fs::write(project.path("plain.sh"), "exit 0").unwrap();
    let (kind, message) = run("./plain.sh");
    assert_eq!(kind, "systemic");
    assert!(message.contains("chmod +x"), "{message}");
}

#[test]
fn it_runs_in_the_folder_of_the_manifest_with_its_arguments() {
    let project = Project::new();
    project.prepare("ready.parquet", vec![ids_of(&["a", "b"]), scores(&[1.0, 2.0])]);
    let outcome = project.sh("test -s \"$1\" && pwd > where && cp ready.parquet \"$2\"", json!({})).unwrap();
    assert_eq!(outcome.tables["scores"].height(), 2);
    assert_eq!(outcome.cost.n_tries, 1);
    assert_eq!(Path::new(project.read("where").trim()), project.dir.path().canonicalize().unwrap());
    let left = std::fs::read_dir(project.path("scratch")).unwrap().count();
    assert_eq!(left, 0, "files of a batch are removed with it");
}

#[test]
fn a_hang_is_killed_with_its_grandchildren() {
    let project = Project::new();
    let script = "sh -c 'trap \"\" TERM; echo $$ > grandchild; while :; do sleep 0.05; done' & \
                  trap '' TERM; echo $$ > child; while :; do sleep 0.05; done";
    let (kind, message) = class(project.sh(script, json!({ "deadline_secs": 1 })));
    assert_eq!(kind, ErrorClass::Hang.as_str());
    assert!(message.contains("did not finish within 1 s"), "{message}");
    assert!(is_gone(&project, "child"));
    assert!(is_gone(&project, "grandchild"));
}

#[test]
fn a_grandchild_left_behind_neither_lives_on_nor_holds_us_up() {
    let project = Project::new();
    project.prepare("ready.parquet", vec![ids_of(&["a", "b"]), scores(&[1.0, 2.0])]);
    let began = Instant::now();
    project.sh("sleep 600 & echo $! > left; cp ready.parquet \"$2\"", json!({})).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(is_gone(&project, "left"));
}

#[test]
fn a_row_alone_has_its_own_deadline() {
    let project = Project::new();
    let began = Instant::now();
    let work = project.work(sh("sleep 60", json!({ "row_deadline_secs": 1 })));
    let (kind, _) = class(work.process(&project.context(), &rows(&["a"])));
    assert_eq!(kind, "hang");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_stop_ends_it_politely() {
    let project = Project::new();
    let cancel = project.cancel.clone();
    let script = "trap 'echo bye > farewell; exit 0' TERM; echo $$ > child; while :; do sleep 0.05; done";
    thread::scope(|scope| {
        let run = scope.spawn(|| class(project.sh(script, json!({}))));
        while project.read("child").is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
        assert_eq!(run.join().unwrap().0, "cancelled");
    });
    assert_eq!(project.read("farewell"), "bye\n");
    assert!(is_gone(&project, "child"));
}

#[test]
fn only_declared_variables_are_passed_on() {
    let project = Project::new();
    let _ = project.sh("env > variables; exit 1", json!({ "env": ["CARGO_PKG_NAME", "SURELY_NOT_SET"] }));
    let text = project.read("variables");
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // Set by the shell itself.
    names.retain(|name| !["_", "PWD", "SHLVL", "OLDPWD", "LANG", "HOME"].contains(name));
    names.sort_unstable();
    let wanted =
        ["CAFE_INPUT", "CAFE_OUTPUT", "CAFE_PROTOCOL", "CAFE_SEED", "CAFE_STAGE", "CARGO_PKG_NAME", "PATH", "TMPDIR"];
    assert_eq!(names, wanted);
    assert!(text.contains(&format!("TMPDIR={}", project.path("scratch").display())), "{text}");
}

#[test]
fn values_of_variables_do_not_leak() {
    let project = Project::new();
    let secret = std::env::var("CARGO_PKG_NAME").unwrap();
    let more = json!({ "env": ["CARGO_PKG_NAME"] });
    let (_, message) = class(project.sh("echo \"token $CARGO_PKG_NAME refused\" >&2; exit 1", more.clone()));
    assert!(message.ends_with("token [CARGO_PKG_NAME] refused"), "{message}");
    let settings = project.compile(sh("", more)).unwrap().settings.to_string();
    assert!(settings.contains("CARGO_PKG_NAME") && !settings.contains(&secret), "{settings}");
}

#[test]
fn a_flood_is_neither_kept_nor_blocks() {
    let project = Project::new();
    let script =
        "head -c 20000000 /dev/zero | tr '\\0' x; head -c 20000000 /dev/zero | tr '\\0' y >&2; echo end >&2; exit 1";
    let (kind, message) = class(project.sh(script, json!({})));
    assert_eq!(kind, "program");
    assert!(
        message.len() < TAIL_BYTES && message.ends_with("y\nend") || message.ends_with("yend"),
        "{}",
        message.len()
    );
}
