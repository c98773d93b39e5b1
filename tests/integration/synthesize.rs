//! `synthesize` by the assistant, and the best of its candidates, through the program: with the tiny family that the engine's goldens
//! were made with.

use std::collections::BTreeMap;
use std::fs::File;

use cafe_pipeline::frame;
use image::RgbImage;
use serde_json::Value;

use crate::support::models::family;
use crate::support::program::Project;

/// Two instructions for each picture, two samples with two α for each instruction; of these four the sharpest is kept.
const MANIFEST: &str = r#"
version = 1
seed = 11
[[stage]]
kind = "collect"
name = "collect"
source = { type = "folder", path = "pictures" }
class = "dog"
licence = "CC0-1.0"
shard_rows = 1
[[stage]]
kind = "instruct"
name = "instruct"
needs = ["collect"]
templates = ["templates/paper.toml"]
per_reference = 2
[[stage]]
kind = "synthesize"
name = "synthesize"
needs = ["instruct"]
family = "family"
samples = 2
[stage.generator]
type = "assistant"
alphas = [1.0, 0.25]
reply = { max_tokens = 9, temperature = 1.0 }
sampling = { steps = 3 }
[[stage]]
kind = "command"
name = "measure"
needs = ["synthesize"]
argv = ["{cafe_data}", "measure", "{input}", "{output}"]
reads = "candidates"
columns = ["image"]
writes = "scores"
output = { sharpness = "float64" }
[[stage]]
kind = "filter"
name = "filter"
needs = ["measure"]
rules = [{ column = "sharpness", min = -1.0 }]
select = { best_of = "pair", by = "sharpness" }
[[stage]]
kind = "publish"
name = "publish"
needs = ["filter"]
release = "set"
"#;

const SELECT: &str = "select = { best_of = \"pair\", by = \"sharpness\" }\n";
const LOST: &str = "not the best of its pair";
const RUN: [&str; 5] = ["run", "--progress", "plain", "--lease", "3"];

fn project(pictures: &[&str]) -> Project {
    let project = Project::new(MANIFEST);
    for name in pictures {
        project.write(&format!("pictures/{name}"), &std::fs::read(family().join(name)).unwrap());
    }
    std::os::unix::fs::symlink(family(), project.path("family")).unwrap();
    project
}

fn rows(project: &Project, sql: &str) -> Vec<Value> {
    serde_json::from_str(&project.cafe(&["query", "--format", "json", sql]).ends(0).stdout).unwrap()
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

/// A candidate, as it was judged.
#[derive(Clone, Debug, PartialEq)]
struct Judged {
    id: String,
    sharpness: f64,
    /// Why it was rejected.
    reason: Option<String>,
}

/// Pair → its candidates, the sharpest first.
fn judged(project: &Project) -> BTreeMap<String, Vec<Judged>> {
    let by_id = |table: &str| -> BTreeMap<String, Value> {
        let rows = rows(project, &format!("SELECT * FROM {table}"));
        rows.into_iter().map(|row| (text(&row, "candidate_id"), row)).collect()
    };
    let (scores, verdicts) = (by_id("scores"), by_id("verdicts"));
    let mut pairs: BTreeMap<String, Vec<Judged>> = BTreeMap::new();
    for row in rows(project, "SELECT candidate_id, pair_id FROM candidates") {
        let id = text(&row, "candidate_id");
        let reason = verdicts[&id]["reason"].as_str().map(ToOwned::to_owned);
        assert_eq!(verdicts[&id]["accepted"], reason.is_none(), "{id}");
        let sharpness = scores[&id]["sharpness"].as_f64().unwrap();
        pairs.entry(text(&row, "pair_id")).or_default().push(Judged { id, sharpness, reason });
    }
    for candidates in pairs.values_mut() {
        candidates.sort_by(|one, other| other.sharpness.total_cmp(&one.sharpness));
    }
    pairs
}

/// Accepted rows, and what `audit` says of the stage that made them.
fn audited(project: &Project) -> (u64, Value) {
    let audit: Value = serde_json::from_str(&project.cafe(&["audit", "--verify", "--json"]).ends(0).stdout).unwrap();
    let stage = audit["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "synthesize");
    (audit["n_accepted"].as_u64().unwrap(), stage.unwrap().clone())
}

#[test]
fn the_best_of_each_pair_is_published_and_every_try_is_paid_for() {
    let project = project(&["x.png", "w.png"]);
    project.cafe(&RUN).ends(0);
    let pairs = judged(&project);
    assert_eq!(pairs.len(), 4);
    for (pair, candidates) in &pairs {
        let reasons: Vec<Option<&str>> = candidates.iter().map(|one| one.reason.as_deref()).collect();
        assert_eq!(reasons, [None, Some(LOST), Some(LOST), Some(LOST)], "{pair}: {candidates:?}");
    }
    assert_eq!(rows(&project, "SELECT candidate_id FROM quadruplets").len(), 4);
    let tries = rows(&project, "SELECT n_tries, prompt_tokens FROM ledger WHERE node = 'synthesize'");
    let sum = |name: &str| tries.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("n_tries"), 16, "those thrown away are tries as well");
    assert!(sum("prompt_tokens") > 0);

    // What is kept pays for all that was made.
    let (n_best, best) = audited(&project);
    let device_secs = best["device_ms"].as_f64().unwrap() / 1000.0;
    let per_best = best["device_secs_per_accepted"].as_f64().unwrap();
    assert!(device_secs > 0.0 && n_best == 4);
    assert!((per_best * 4.0 - device_secs).abs() < 1e-6, "{best}");
    let figures: Value = serde_json::from_str(&project.cafe(&["report", "--json"]).ends(0).stdout).unwrap();
    let steps = figures["funnel"].as_array().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["name"] == name).map(|step| step["n"].clone());
    assert_eq!(step("sharpness >= -1"), Some(16.into()), "{steps:?}");
    assert_eq!(step("the best of its pair by sharpness"), Some(4.into()), "{steps:?}");

    // The same candidates, all of them kept: nothing is made again, and each costs a quarter.
    project.write("cafe.toml", MANIFEST.replace(SELECT, "").as_bytes());
    project.cafe(&RUN).ends(0);
    let (n_all, all) = audited(&project);
    assert_eq!((n_all, &all["device_ms"]), (16, &best["device_ms"]));
    let per_kept = all["device_secs_per_accepted"].as_f64().unwrap();
    assert!((per_best - 4.0 * per_kept).abs() < 1e-6, "{best} {all}");
}

/// The attempts at candidates and scores.
const MAKERS: &str =
    "SELECT attempt_id, outcome FROM ledger WHERE node IN ('synthesize', 'measure') ORDER BY attempt_id";

#[test]
fn recut_chooses_anew_and_makes_nothing() {
    let project = project(&["x.png", "w.png"]);
    project.cafe(&RUN).ends(0);
    let before = judged(&project);
    let attempts = rows(&project, MAKERS);
    let [first, second, ..] = &before.values().next().unwrap()[..] else { panic!("four candidates") };
    assert!(first.sharpness > second.sharpness, "two pictures are equally sharp: {before:?}");
    let limit = f64::midpoint(first.sharpness, second.sharpness);
    project.cafe(&["recut", "--max", &format!("sharpness={limit}")]).ends(0);
    let after = judged(&project);
    for (pair, candidates) in &after {
        let n_above = candidates.iter().filter(|one| one.sharpness > limit).count();
        let (above, within) = candidates.split_at(n_above);
        let too_sharp = format!("sharpness <= {limit}");
        assert!(above.iter().all(|one| one.reason.as_ref() == Some(&too_sharp)), "{pair}: {candidates:?}");
        if let Some((best, others)) = within.split_first() {
            assert_eq!(best.reason, None, "{pair}: {candidates:?}");
            assert!(others.iter().all(|one| one.reason.as_deref() == Some(LOST)), "{pair}: {candidates:?}");
        }
    }
    assert!(after.values().any(|candidates| candidates[1].id == second.id && candidates[1].reason.is_none()));
    assert_eq!(rows(&project, MAKERS), attempts, "candidates were made again");
    // The manifest still has its own rules.
    project.cafe(&RUN).ends(0);
    assert_eq!(judged(&project), before);
}

/// The candidate's pixels, from the file in which `audit --trace` says they are.
fn pixels(project: &Project, id: &str) -> RgbImage {
    let ran = project.cafe(&["audit", "--trace", id, "--json"]).ends(0);
    let trace: Value = serde_json::from_str(&ran.stdout).unwrap();
    let link = trace["chain"].as_array().unwrap().iter().find(|link| link["kind"] == "candidate").unwrap();
    let row = &link["rows"][0];
    assert_eq!(row["table"], "candidates");
    assert!(link["rows"].as_array().unwrap().iter().any(|row| row["table"] == "candidate_replies"), "{link}");
    let file = File::open(project.path("data").join(row["path"].as_str().unwrap())).unwrap();
    let at = row["row"].as_u64().unwrap() as usize;
    let read = frame::read_slice(file, at, 1, Some(&["image".to_owned()])).unwrap();
    let bytes = read.column("image").unwrap().struct_().unwrap().field_by_name("bytes").unwrap();
    image::load_from_memory(bytes.binary().unwrap().get(0).unwrap()).unwrap().to_rgb8()
}

#[test]
fn a_candidate_is_what_generate_draws_with_its_seed() {
    for alpha in ["1.0", "0.25"] {
        let project = project(&["x.png"]);
        // One of each pair: what else is in a batch may change the last bit.
        let alone = MANIFEST.replace("samples = 2", "samples = 1").replace("[1.0, 0.25]", &format!("[{alpha}]"));
        project.write("cafe.toml", alone.as_bytes());
        project.cafe(&RUN).ends(0);
        let replies = rows(&project, "SELECT candidate_id, told, reply FROM candidate_replies");
        let candidates = rows(&project, "SELECT candidate_id, seed FROM candidates");
        assert_eq!((replies.len(), candidates.len()), (2, 2));
        let id = text(&candidates[0], "candidate_id");
        let reply = replies.iter().find(|reply| reply["candidate_id"] == id.as_str()).unwrap();
        let (told, seed) = (text(reply, "told"), candidates[0]["seed"].to_string());
        // `--alpha` is the share of F(w), which is F(x) here; what is left is that of H(s).
        let rest = (1.0 - alpha.parse::<f64>().unwrap()).to_string();
        let args = ["generate", "--family", "family", "--image", "pictures/x.png", "--assistant", "--prompt", &told];
        let drawn = ["--seed", &seed, "--steps", "3", "--max-new-tokens", "9", "--temperature", "1", "-o", "out.png"];
        let mixed = ["--like", "pictures/x.png", "--alpha", &rest];
        let ran = project.cafe(&[&args[..], &drawn, &mixed].concat()).ends(0);
        let said: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(said["reply"], reply["reply"]);
        let generated = image::open(project.path("out.png")).unwrap().to_rgb8();
        assert!(pixels(&project, &id) == generated, "α = {alpha}: another picture");
    }
}

#[test]
fn killed_while_it_draws_it_ends_with_the_same_bytes() {
    let undisturbed = project(&["x.png", "w.png"]);
    undisturbed.cafe(&RUN).ends(0);
    let wanted = undisturbed.dataset();
    assert!(wanted.contains_key("candidate_replies/synthesize/1"), "{wanted:?}");
    for points in ["journal_synced=kill@1", "shard_renamed=kill@6"] {
        let project = project(&["x.png", "w.png"]);
        let ran = project.failing(points, &RUN);
        assert_eq!(ran.code, None, "{points} was not met: {}", ran.stderr);
        project.cafe(&RUN).ends(0);
        assert_eq!(project.dataset(), wanted, "{points}");
    }
}

#[test]
fn the_bundled_family_has_no_assistant_and_the_plan_says_so() {
    let project = project(&["x.png"]);
    project.write("cafe.toml", MANIFEST.replace("family = \"family\"\n", "").as_bytes());
    let said = project.cafe(&["plan"]).ends(3).stderr;
    assert!(said.contains("mini has no folder `mllm`") && said.contains("train mllm"), "{said}");
}

#[test]
fn a_choice_by_what_no_scorer_writes_is_a_mistake_of_the_manifest() {
    let project = project(&["x.png"]);
    project.write("cafe.toml", MANIFEST.replace("by = \"sharpness\"", "by = \"clip + dino\"").as_bytes());
    let said = project.cafe(&["plan"]).ends(3).stderr;
    assert!(said.contains("no column `clip`"), "{said}");
}
