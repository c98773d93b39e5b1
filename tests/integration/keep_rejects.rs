//! `keep_rejects`: pictures of rejected candidates go once a release is out, and come back when they are needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::failpoint::FailPoint;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;

use crate::support::models::family;
use crate::support::program::Project;

const RUN: [&str; 5] = ["run", "--progress", "plain", "--lease", "3"];

/// A manifest that begins with what makes candidates, in a stage `make`; `KEEP` and `MIN` stand for what a test chooses.
macro_rules! judged {
    ($made:literal) => {
        concat!(
            $made,
            r#"[[stage]]
kind = "command"
name = "measure"
needs = ["make"]
argv = ["{cafe_data}", "measure", "{input}", "{output}"]
reads = "candidates"
columns = ["image"]
writes = "scores"
output = { sharpness = "float64" }
[[stage]]
kind = "filter"
name = "filter"
needs = ["measure"]
rules = [{ column = "sharpness", min = MIN }]
[[stage]]
kind = "publish"
name = "publish"
needs = ["filter"]
release = "set"
keep_rejects = "KEEP"
"#
        )
    };
}

/// Pairs that are there already, in shards of two.
const IMPORTED: &str = judged!(
    r#"
version = 1
seed = 7
[[stage]]
kind = "import"
name = "make"
source = { type = "folder", path = "pictures" }
shard_rows = 2
"#
);

/// Eight candidates of each of two pictures, drawn by the assistant of the tiny family, in a shard for each picture.
const DRAWN: &str = judged!(
    r#"
version = 1
seed = 11
[[stage]]
kind = "collect"
name = "collect"
source = { type = "folder", path = "pictures" }
class = "dog"
shard_rows = 1
[[stage]]
kind = "instruct"
name = "instruct"
needs = ["collect"]
templates = ["templates/paper.toml"]
per_reference = 2
[[stage]]
kind = "synthesize"
name = "make"
needs = ["instruct"]
family = "family"
samples = 2
[stage.generator]
type = "assistant"
alphas = [1.0, 0.25]
reply = { max_tokens = 9, temperature = 1.0 }
sampling = { steps = 3 }
"#
);

fn choose(project: &Project, manifest: &str, keep: &str, min: f64) {
    let manifest = manifest.replace("KEEP", keep).replace("MIN", &format!("{min:?}"));
    project.write("cafe.toml", manifest.as_bytes());
}

/// Six pairs; the targets are noise, each louder than the one before.
fn imported() -> Project {
    let project = Project::new("");
    let mut table = "reference,target,instruction\n".to_owned();
    let mut state = 1_u32;
    for number in 1..=6 {
        let mut noise = |loudness: i32| {
            let picture = RgbImage::from_fn(200, 200, |_, _| {
                let mut draw = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (128 + loudness * ((state >> 24) as i32 - 128) / 128) as u8
                };
                Rgb([draw(), draw(), draw()])
            });
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        project.write(&format!("pictures/r{number}.png"), &noise(90));
        project.write(&format!("pictures/t{number}.png"), &noise(15 * number));
        table.push_str(&format!("r{number}.png,t{number}.png,put it on red {number}\n"));
    }
    project.write("pictures/metadata.csv", table.as_bytes());
    project
}

fn drawn() -> Project {
    let project = Project::new("");
    for name in ["x.png", "w.png"] {
        project.write(&format!("pictures/{name}"), &std::fs::read(family().join(name)).unwrap());
    }
    std::os::unix::fs::symlink(family(), project.path("family")).unwrap();
    project
}

fn rows(project: &Project, sql: &str) -> Vec<Value> {
    serde_json::from_str(&project.cafe(&["query", "--format", "json", sql]).ends(0).stdout).unwrap()
}

/// Candidate → its picture, in hexadecimal digits.
fn pictures(project: &Project) -> BTreeMap<String, Option<String>> {
    let rows = rows(project, "SELECT candidate_id, image FROM candidates");
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    rows.iter().map(|row| (text(&row["candidate_id"]).unwrap(), text(&row["image"]["bytes"]))).collect()
}

fn accepted(project: &Project) -> BTreeSet<String> {
    let rows = rows(project, "SELECT candidate_id, accepted FROM verdicts");
    let accepted = rows.iter().filter(|row| row["accepted"] == true);
    accepted.map(|row| row["candidate_id"].as_str().unwrap().to_owned()).collect()
}

/// All that `sharpness` can be asked for, from the greatest on: `limits[n]` accepts the n + 1 sharpest candidates.
fn limits(project: &Project) -> Vec<f64> {
    let rows = rows(project, "SELECT sharpness FROM scores ORDER BY sharpness DESC");
    let found: Vec<f64> = rows.iter().map(|row| row["sharpness"].as_f64().unwrap()).collect();
    found.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect()
}

/// How often a shard of `make` was made, over all runs.
fn n_made(project: &Project) -> usize {
    rows(project, "SELECT attempt_id FROM ledger WHERE node = 'make' AND outcome = 'committed' AND shard_index >= 0")
        .len()
}

/// Bytes that the shards of `make` take.
fn n_bytes(project: &Project) -> u64 {
    let status: Value = serde_json::from_str(&project.cafe(&["status", "--json"]).ends(0).stdout).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["node"] == "make").unwrap()["n_bytes"].as_u64().unwrap()
}

/// What the dataset has besides candidates; with the files of all releases.
fn but_candidates(project: &Project) -> BTreeMap<String, Digest> {
    let mut dataset = project.dataset();
    dataset.retain(|name, _| !name.starts_with("candidates/"));
    dataset
}

/// Files of `make`: those of the tables in the catalog, and no others.
fn assert_swept(project: &Project) {
    let known = project.dataset().keys().filter(|name| name.split('/').nth(1) == Some("make")).count();
    let stored = std::fs::read_dir(project.path("data/shards/make")).unwrap().count();
    assert_eq!(stored, known, "files that nothing points at were left");
}

/// Candidates that are accepted have the picture that `whole` has of them, all others none.
fn assert_kept(project: &Project, whole: &BTreeMap<String, Option<String>>) {
    let accepted = accepted(project);
    for (id, picture) in pictures(project) {
        let wanted = if accepted.contains(&id) { whole[&id].clone() } else { None };
        assert!(picture == wanted, "the picture of {id} is not as it should be");
    }
}

#[test]
fn rejects_lose_their_pictures_and_get_them_back_when_a_threshold_is_loosened() {
    let kept = drawn();
    choose(&kept, DRAWN, "image", -1.0);
    kept.cafe(&RUN).ends(0);
    let (limits, whole) = (limits(&kept), pictures(&kept));
    assert_eq!(whole.len(), 16);
    let (strict, loose) = (limits[3], limits[4]);
    choose(&kept, DRAWN, "image", strict);
    kept.cafe(&RUN).ends(0);

    let small = drawn();
    choose(&small, DRAWN, "scores", strict);
    let ran = small.cafe(&RUN).ends(0);
    assert!(ran.stderr.contains("pictures of rejected rows were dropped from 2 shards"), "{}", ran.stderr);
    assert_eq!(accepted(&small).len(), 4);
    assert_kept(&small, &whole);
    assert!(n_bytes(&small) < n_bytes(&kept), "{} {}", n_bytes(&small), n_bytes(&kept));
    assert_swept(&small);
    // All else is the same, byte by byte: releases, scores, and what stands beside candidates.
    let (wanted, found) = (but_candidates(&kept), but_candidates(&small));
    assert!(found.keys().any(|name| name.ends_with("release.json")), "{found:?}");
    assert!(found.iter().all(|(name, digest)| wanted.get(name) == Some(digest)), "{found:?}\n{wanted:?}");
    small.cafe(&["audit", "--verify"]).ends(0);
    let page = small.cafe(&["report", "-o", "-"]).ends(0).stdout;
    assert!(page.contains("rejected, and its picture not kept"), "the report does not say why a picture is missing");

    // One more is accepted: the shard that has it is made again, and nothing else.
    let before = n_made(&small);
    let loosened = format!("sharpness={loose}");
    let recut = ["recut", "--min", &loosened, "--progress", "plain"];
    let ran = small.cafe(&recut).ends(0);
    assert!(ran.stderr.contains("pictures in 1 shard of `candidates` were dropped"), "{}", ran.stderr);
    assert_eq!((accepted(&small).len(), n_made(&small)), (5, before + 1));
    assert_kept(&small, &whole);
    kept.cafe(&recut).ends(0);
    let (wanted, found) = (but_candidates(&kept), but_candidates(&small));
    assert!(found.iter().all(|(name, digest)| wanted.get(name) == Some(digest)), "{found:?}\n{wanted:?}");
    small.cafe(&["audit", "--verify"]).ends(0);

    // Back to the manifest's own threshold: nothing is made.
    small.cafe(&RUN).ends(0);
    assert_eq!((accepted(&small).len(), n_made(&small)), (4, before + 1));
    small.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn a_new_scorer_is_shown_pictures_and_never_thumbnails() {
    let small = imported();
    choose(&small, IMPORTED, "thumbnail", -1.0);
    small.cafe(&RUN).ends(0);
    let (limits, whole) = (limits(&small), pictures(&small));
    choose(&small, IMPORTED, "thumbnail", limits[1]);
    small.cafe(&RUN).ends(0);
    let accepted = accepted(&small);
    for (id, picture) in pictures(&small) {
        let picture = picture.unwrap();
        let was = whole[&id].as_ref().unwrap();
        assert_eq!(picture == *was, accepted.contains(&id), "{id}");
        // A JPEG file begins so.
        assert!(accepted.contains(&id) || picture.starts_with("ffd8ff") && picture.len() < was.len(), "{id}");
    }
    small.cafe(&["audit", "--verify"]).ends(0);
    let page = small.cafe(&["report", "-o", "-"]).ends(0).stdout;
    assert!(!page.contains("picture not kept"), "thumbnails are not shown");

    let scorer = r#"[[stage]]
kind = "command"
name = "colours"
needs = ["make"]
argv = ["{cafe_data}", "measure", "{input}", "{output}"]
reads = "candidates"
columns = ["image"]
writes = "scores"
output = { colourfulness = "float64" }
"#;
    let kept = imported();
    for (project, keep) in [(&small, "thumbnail"), (&kept, "image")] {
        choose(project, &format!("{IMPORTED}{scorer}"), keep, limits[1]);
        let ran = project.cafe(&RUN).ends(0);
        assert_eq!(ran.stderr.contains("are needed again"), keep == "thumbnail", "{}", ran.stderr);
    }
    let (wanted, found) = (but_candidates(&kept), but_candidates(&small));
    assert!(found.keys().any(|name| name.starts_with("scores/colours/")), "{found:?}");
    assert!(found.iter().all(|(name, digest)| wanted.get(name) == Some(digest) || name.contains("set-")), "{found:?}");

    // Less is kept now, and where one of two releases keeps all, all is kept.
    choose(&small, IMPORTED, "scores", limits[1]);
    small.cafe(&RUN).ends(0);
    assert_kept(&small, &whole);
    let second = "[[stage]]\nkind = \"publish\"\nname = \"second\"\nneeds = [\"filter\"]\nrelease = \"all\"\n";
    let both = imported();
    choose(&both, &format!("{IMPORTED}{second}"), "scores", limits[1]);
    both.cafe(&RUN).ends(0);
    assert_eq!(pictures(&both), whole);
}

#[test]
fn a_person_is_shown_whole_pictures() {
    let review = "[[stage]]\nkind = \"review\"\nname = \"review\"\nneeds = [\"filter\"]\nunreviewed = \"reject\"\n";
    let published = "name = \"publish\"\nneeds = [\"review\"]";
    let manifest = IMPORTED.replace("name = \"publish\"\nneeds = [\"filter\"]", published) + review;
    let project = imported();
    choose(&project, &manifest, "scores", -1.0);
    project.cafe(&RUN).ends(0);
    let (limits, whole) = (limits(&project), pictures(&project));
    assert!(whole.values().all(Option::is_some), "whom nobody has judged is no reject");
    choose(&project, &manifest, "scores", limits[1]);
    project.cafe(&RUN).ends(0);
    let n_left = |project: &Project| pictures(project).values().flatten().count();
    assert_eq!(n_left(&project), 2);
    // Another one waits for a verdict now, and its picture is gone.
    choose(&project, &manifest, "scores", limits[2]);
    project.cafe(&RUN).ends(0);
    let ran = project.cafe(&["review", "export", "-o", "list"]).ends(3);
    assert!(ran.stderr.contains("`keep_rejects`") && ran.stderr.contains("makes 1 shard again"), "{}", ran.stderr);
    assert!(!project.path("list").try_exists().unwrap());
    project.cafe(&RUN).ends(0);
    assert_eq!(n_left(&project), 3);
    project.cafe(&["review", "export", "-o", "list"]).ends(0);
    let list = std::fs::read_to_string(project.path("list/verdicts.csv")).unwrap();
    let ids: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(ids.len(), 3, "{list}");
    for id in ids {
        let picture = image::open(project.path(&format!("list/images/{id}.target.png"))).unwrap();
        assert_eq!((picture.width(), picture.height()), (200, 200));
    }
    project.cafe(&["audit", "--verify"]).ends(0);
}

/// Makes the shards of `make` whole again, as the damage of a file would.
fn restore(project: &Project, min: f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let catalog = cafe_catalog::open("sqlite:cafe.db", project.dir.path()).await.unwrap();
        for shard in catalog.shards(Some("make")).await.unwrap().iter().filter(|shard| shard.key.shard_index >= 0) {
            catalog.invalidate(shard.shard_id, "the next kill").await.unwrap();
        }
        catalog.close().await;
    });
    choose(project, IMPORTED, "image", min);
    project.cafe(&RUN).ends(0);
}

#[test]
fn killed_at_every_step_and_run_again_it_ends_with_the_same_bytes() {
    use FailPoint::{
        CompactCommitted, CompactCommitting, CompactWriting, CompactWritten, DirectorySynced, ShardRenamed,
        ShardSynced, ShardWriting, ShardWritten, SweepRemoved, SweepRemoving,
    };
    let project = imported();
    choose(&project, IMPORTED, "image", -1.0);
    project.cafe(&RUN).ends(0);
    let min = limits(&project)[1];
    choose(&project, IMPORTED, "image", min);
    project.cafe(&RUN).ends(0);
    let before = project.dataset();
    choose(&project, IMPORTED, "scores", min);
    project.cafe(&RUN).ends(0);
    let wanted = project.dataset();
    assert_ne!(wanted, before);
    // Nothing else is written in a run that finds all made: each passage is one of a shard that becomes smaller.
    let steps = [
        CompactWriting,
        ShardWriting,
        ShardWritten,
        ShardSynced,
        ShardRenamed,
        DirectorySynced,
        CompactWritten,
        CompactCommitting,
        CompactCommitted,
        SweepRemoving,
        SweepRemoved,
    ];
    // By turns with no shard done, and with one.
    for (point, passage) in steps.iter().zip([1, 2].into_iter().cycle()) {
        restore(&project, min);
        assert_eq!(project.dataset(), before, "before a kill at {} ({passage})", point.name());
        choose(&project, IMPORTED, "scores", min);
        let killed = project.failing(&format!("{}=kill@{passage}", point.name()), &RUN);
        assert_eq!(killed.code, None, "{} ({passage}) was not reached:\n{}", point.name(), killed.stderr);
        project.cafe(&RUN).ends(0);
        assert_eq!(project.dataset(), wanted, "after a kill at {} ({passage})", point.name());
        assert_swept(&project);
        project.cafe(&["audit", "--verify"]).ends(0);
    }
}

#[test]
fn two_processes_at_once_and_a_full_disk_change_nothing() {
    let project = imported();
    choose(&project, IMPORTED, "image", -1.0);
    project.cafe(&RUN).ends(0);
    let min = limits(&project)[1];
    choose(&project, IMPORTED, "scores", min);
    project.cafe(&RUN).ends(0);
    let wanted = project.dataset();

    restore(&project, min);
    choose(&project, IMPORTED, "scores", min);
    let start = |points: &str| project.command(&RUN).env("CAFE_FAIL", points).spawn().unwrap();
    // The one has written a file when the other comes.
    let mut workers = [start("compact_written=sleep:500@1"), start("compact_writing=sleep:200@0")];
    for worker in &mut workers {
        // It may have ended before the other's plan was in place.
        let code = worker.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 75)), "{code:?}");
    }
    project.cafe(&RUN).ends(0);
    assert_eq!(project.dataset(), wanted);
    assert_swept(&project);
    project.cafe(&["audit", "--verify"]).ends(0);

    restore(&project, min);
    choose(&project, IMPORTED, "scores", min);
    let ran = project.failing("compact_writing=enospc@1", &RUN).ends(0);
    assert!(ran.stderr.contains("pictures of rejects could not be dropped"), "{}", ran.stderr);
    project.cafe(&RUN).ends(0);
    assert_eq!(project.dataset(), wanted);
}
