//! Killed with SIGKILL at every fail point, and run again: the same bytes as undisturbed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::failpoint::FailPoint;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::program::{Project, wait_for};

/// All kinds of nodes in a few small shards: source, barrier, single, aligned, journaled, release.
const MANIFEST: &str = r#"
version = 1
seed = 3
[[stage]]
kind = "collect"
name = "collect"
source = { type = "folder", path = "pictures", class_from_folder = true }
shard_rows = 6
[[stage]]
kind = "instruct"
name = "instruct"
needs = ["collect"]
templates = ["templates/paper.toml"]
per_reference = 2
pairing = "balanced"
[[stage]]
kind = "command"
name = "measure"
needs = ["collect"]
argv = ["{cafe_data}", "measure", "{input}", "{output}"]
reads = "references"
columns = ["image"]
writes = "scores"
output = { sharpness = "float64", colourfulness = "float64" }
batch_rows = 3
[[stage]]
kind = "filter"
name = "filter"
needs = ["measure"]
reads = "references"
rules = [{ column = "colourfulness", min = 20.0 }]
[[stage]]
kind = "publish"
name = "publish"
needs = ["instruct", "filter"]
of = "pairs"
"#;

/// A short lease, so that the work of a killed process is soon free where its death cannot be seen.
const RUN: [&str; 5] = ["run", "--progress", "plain", "--lease", "3"];

fn project() -> Project {
    let project = Project::new(MANIFEST);
    project.pictures(&["animal", "food"]);
    project
}

fn undisturbed() -> BTreeMap<String, Digest> {
    let project = project();
    project.cafe(&RUN).ends(0);
    project.dataset()
}

#[test]
fn killed_at_every_fail_point_and_run_again_it_ends_with_the_same_bytes() {
    let wanted = undisturbed();
    assert!(wanted.keys().any(|file| file.starts_with("releases/")), "nothing was published: {wanted:?}");
    // Rows are the subject of other tests; a heartbeat needs a run that is longer than a third of its lease.
    let slow = |point: FailPoint| matches!(point, FailPoint::HeartbeatSending | FailPoint::HeartbeatSent);
    // This project asks no language model, a run exports nothing and takes no verdicts, and references are kept whole: see
    // `dialogue`, `export`, `review` and `keep_rejects`.
    let elsewhere = |point: FailPoint| {
        use FailPoint::{
            CompactCommitted, CompactCommitting, CompactWriting, CompactWritten, ExportRenamed, ExportRenaming,
            ExportWriting, FileRenamed, FileRenaming, FileWriting, ReplyStored, ReplyStoring, Row, SweepRemoved,
            SweepRemoving,
        };
        matches!(point, Row | ReplyStoring | ReplyStored | ExportWriting | ExportRenaming | ExportRenamed)
            || matches!(point, CompactWriting | CompactWritten | CompactCommitting | CompactCommitted)
            || matches!(point, SweepRemoving | SweepRemoved | FileWriting | FileRenaming | FileRenamed)
    };
    for point in FailPoint::ALL.iter().copied().filter(|point| !elsewhere(*point)) {
        // The first passage, and a later one where there is one.
        for passage in [1, 3] {
            let project = project();
            let points = if slow(point) {
                format!("{}=kill@{passage};shard_writing=sleep:400@0", point.name())
            } else {
                format!("{}=kill@{passage}", point.name())
            };
            let args = if slow(point) { vec!["run", "--lease", "0.3", "--workers", "1"] } else { RUN.to_vec() };
            let killed = project.failing(&points, &args);
            if passage == 1 {
                assert_eq!(killed.code, None, "{} was not reached:\n{}", point.name(), killed.stderr);
            }
            if killed.code.is_none() {
                project.cafe(&RUN).ends(0);
            }
            assert_eq!(project.dataset(), wanted, "after a kill at {} ({passage})", point.name());
            project.cafe(&["audit", "--verify"]).ends(0);
        }
    }
}

#[test]
fn a_frozen_worker_that_wakes_up_changes_nothing() {
    let wanted = undisturbed();
    let project = project();
    // It stops for a while with a file written and its commit still to come.
    let args = ["run", "--lease", "0.5", "--workers", "1", "--progress", "plain"];
    let mut frozen = project.command(&args).env("CAFE_FAIL", "directory_synced=sleep:800@4").spawn().unwrap();
    let pid = Pid::from_child(&frozen);
    wait_for(|| std::fs::read_dir(project.path("data/shards/collect.scan")).is_ok_and(|files| files.count() >= 2));
    // Frozen in the middle of a transaction, it would hold the database's lock: then it is frozen again elsewhere.
    loop {
        kill_process(pid, Signal::STOP).unwrap();
        let ran = project.cafe(&["run", "--lease", "0.5", "--progress", "plain"]);
        if ran.code != Some(75) || !ran.stderr.contains("database is locked") {
            ran.ends(0);
            break;
        }
        kill_process(pid, Signal::CONT).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(project.dataset(), wanted);
    kill_process(pid, Signal::CONT).unwrap();
    frozen.wait().unwrap();
    assert_eq!(project.dataset(), wanted);
    project.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn two_processes_share_the_work_and_one_may_be_killed() {
    let wanted = undisturbed();
    let project = project();
    let start = || project.command(&RUN).spawn().unwrap();
    let (mut first, mut second) = (start(), start());
    wait_for(|| project.path("data/shards/collect").is_dir());
    first.kill().unwrap();
    first.wait().unwrap();
    let code = second.wait().unwrap().code();
    // It may have ended before the other's plan was in place.
    assert!(matches!(code, Some(0 | 75)), "{code:?}");
    project.cafe(&RUN).ends(0);
    assert_eq!(project.dataset(), wanted);
}

#[test]
fn an_interrupted_run_says_so_and_goes_on() {
    let project = project();
    let mut child = project.command(&RUN).env("CAFE_FAIL", "shard_writing=sleep:300@0").spawn().unwrap();
    wait_for(|| project.path("data/shards").is_dir());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    project.cafe(&RUN).ends(0);
    assert_eq!(project.dataset(), undisturbed());
}

#[test]
fn a_full_disk_stops_the_run_and_the_same_command_goes_on() {
    let project = project();
    for point in ["shard_writing=enospc@4", "journal_appending=enospc@1", "shard_synced=enospc@2"] {
        let ran = project.failing(point, &RUN).ends(75);
        assert!(ran.stderr.contains("no space left"), "{}", ran.stderr);
    }
    let manifest = MANIFEST.replace("seed = 3\n", "seed = 3\n[storage]\nmin_free_bytes = 1_000_000_000_000_000_000\n");
    project.write("cafe.toml", manifest.as_bytes());
    let ran = project.cafe(&RUN).ends(75);
    assert!(ran.stderr.contains("storage.min_free_bytes"), "{}", ran.stderr);
    project.write("cafe.toml", MANIFEST.as_bytes());
    project.cafe(&RUN).ends(0);
    assert_eq!(project.dataset(), undisturbed());
}

#[test]
fn damage_is_found_by_audit_and_made_again_by_run() {
    let wanted = undisturbed();
    let project = project();
    project.cafe(&RUN).ends(0);
    let file = |node: &str| {
        let mut files: Vec<_> = std::fs::read_dir(project.path("data/shards").join(node))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        files.remove(0)
    };
    let (scores, pairs, references) = (file("measure"), file("instruct"), file("collect"));
    let bytes = std::fs::read(&scores).unwrap();
    std::fs::write(&scores, &bytes[..bytes.len() / 2]).unwrap();
    let mut bytes = std::fs::read(&pairs).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pairs, bytes).unwrap();
    std::fs::remove_file(&references).unwrap();
    let ran = project.cafe(&["audit", "--verify", "--json"]).ends(5);
    for path in [&scores, &pairs, &references] {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(ran.stdout.contains(name), "{name} was not found damaged:\n{}", ran.stdout);
    }
    project.cafe(&RUN).ends(0);
    assert_eq!(project.dataset(), wanted);
    project.cafe(&["audit", "--verify"]).ends(0);
}

/// For a minute: two processes, killed at random, started again. No row is lost, none is there twice.
#[test]
#[ignore = "takes a minute: `just soak`"]
fn soak_two_processes_killed_at_random() {
    let manifest = MANIFEST.replace("shard_rows = 6", "shard_rows = 1");
    let classes = ["animal", "food", "plant", "toy", "vehicle", "building", "clothing", "instrument"];
    let calm = Project::new(&manifest);
    calm.pictures(&classes);
    calm.cafe(&RUN).ends(0);
    let wanted = calm.dataset();
    let until = Instant::now() + Duration::from_secs(60);
    let mut draw = 12_345_u64;
    let (mut n_kills, mut n_rounds) = (0, 0);
    while Instant::now() < until {
        let project = Project::new(&manifest);
        project.pictures(&classes);
        let start = || {
            let mut command = project.command(&RUN);
            command.env("CAFE_FAIL", "shard_writing=sleep:5@0").stderr(std::process::Stdio::null());
            command.spawn().unwrap()
        };
        let mut workers = [start(), start()];
        for _ in 0..12 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_millis(20 + (draw >> 40) % 180));
            let which = (draw >> 33) as usize % 2;
            workers[which].kill().unwrap();
            n_kills += u32::from(workers[which].wait().unwrap().code().is_none());
            workers[which] = start();
        }
        for worker in &mut workers {
            worker.wait().unwrap();
        }
        project.cafe(&RUN).ends(0);
        assert_eq!(project.dataset(), wanted);
        project.cafe(&["audit", "--verify"]).ends(0);
        n_rounds += 1;
    }
    assert!(n_kills > 20, "only {n_kills} processes were killed at work");
    eprintln!("{n_kills} processes killed at work in {n_rounds} datasets; each is whole");
}
