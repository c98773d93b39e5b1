//! Reports of projects made by hand.

use cafe_pipeline::audit::{AuditReport, NodeAudit, StageCost, Verdicts};
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::query::QuerySource;
use polars::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::world::{World, images, noise, quarantined};

/// What is known of a world.
pub(super) fn facts(world: &World) -> Facts {
    let filter = json!({ "reads": "candidates", "rules": ["clip >= 0.3", "dino >= 0.6"] });
    let node = |node: &str, stage: &str| NodeAudit {
        node: node.to_owned(),
        stage: stage.to_owned(),
        n_committed: 1,
        n_out: world.files.iter().filter(|file| file.node == node).map(|file| file.n_rows).sum(),
        n_done: 4,
        ..NodeAudit::default()
    };
    let mut nodes: Vec<NodeAudit> = ["collect", "instruct", "tune", "sid", "filter", "dialogue", "publish"]
        .map(|name| node(name, name))
        .into_iter()
        .filter(|node| world.files.iter().any(|file| file.node == node.node))
        .collect();
    for node in &mut nodes {
        match node.node.as_str() {
            // A shard of four pairs is still to be made: three candidates each.
            "sid" => (node.n_pending, node.n_pending_shards) = (4, 1),
            "filter" => {
                let rejected = [("clip >= 0.3".to_owned(), 8), ("dino >= 0.6".to_owned(), 1)].into();
                node.verdicts = Some(Verdicts { n_accepted: 7, rejected });
            }
            _ => {}
        }
    }
    let stages = nodes.iter().map(|node| StageCost {
        stage: node.stage.clone(),
        n_attempts: 1,
        wall_ms: 1000,
        wall_secs_per_accepted: Some(1.0 / 7.0),
        ..StageCost::default()
    });
    Facts {
        manifest: "cafe.toml".to_owned(),
        seed: 7,
        version: "0.0.0".to_owned(),
        plan: PlanRecord {
            fingerprint: Hasher::new("test").fingerprint(),
            manifest: String::new(),
            nodes: json!([{ "name": "filter", "kind": "filter", "fields": { "settings": filter } }]),
        },
        audit: AuditReport {
            balances: true,
            stages: stages.collect(),
            nodes,
            n_accepted: Some(7),
            ..AuditReport::default()
        },
        ledger: world.ledger(),
        quarantine: vec![quarantined("collect", "b<ad>.png", "is not a picture")],
        releases: Vec::new(),
        source: world.source(),
    }
}

fn figures(world: &World) -> Value {
    Report::new(&facts(world)).unwrap().to_json()
}

#[test]
fn the_funnel_counts_from_plan_to_release() {
    let figures = figures(&World::whole(24));
    let steps: Vec<(&str, u64)> = figures["funnel"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["name"].as_str().unwrap(), step["n"].as_u64().unwrap()))
        .collect();
    let wanted = [
        ("references", 4),
        ("pairs", 4),
        ("planned", 28),
        ("generated", 16),
        ("clip >= 0.3", 8),
        ("dino >= 0.6", 7),
        ("dialogue", 7),
        ("published (set-1)", 7),
    ];
    assert_eq!(steps, wanted);
    assert_eq!(figures["funnel"][3]["pending"], "1 shard with 4 rows");
    assert_eq!(figures["funnel"][5]["share"], 0.875);
    assert_eq!(figures["funnel"][4]["share_of_first"], 8.0 / 28.0);
}

#[test]
fn yields_and_seconds_are_those_of_the_rows() {
    let yields = &figures(&World::whole(24))["yields"];
    assert_eq!((&yields["total"]["n"], &yields["total"]["n_kept"]), (&json!(16), &json!(7)));
    let group = |by: usize, at: usize| yields["by"][by]["groups"][at].clone();
    let columns: Vec<&str> = yields["by"].as_array().unwrap().iter().map(|by| by["column"].as_str().unwrap()).collect();
    assert_eq!(columns, ["class", "family", "alpha", "generator"]);
    // Candidates 9 to 15, of pairs 9 % 4 and so on: dogs are 10, 12 and 14.
    assert_eq!((&group(0, 1)["value"], &group(0, 1)["n_kept"]), (&json!("dog"), &json!(3)));
    let alphas: Vec<Value> = (0..4).map(|at| group(2, at)["value"].clone()).collect();
    assert_eq!(alphas, [json!("0"), json!("0.5"), json!("1"), json!("(none)")]);
    // Two attempts of a second at the shard of twelve, seven of which are kept.
    let sid = group(3, 0);
    assert_eq!((&sid["value"], &sid["n"], &sid["n_kept"]), (&json!("sid"), &json!(12), &json!(7)));
    let near = |value: &Value, wanted: f64| (value.as_f64().unwrap() - wanted).abs() < 1e-9;
    assert!(near(&sid["wall_secs_per_kept"], 2.0 / 7.0) && near(&sid["device_secs_per_kept"], 1.6 / 7.0), "{sid}");
    assert_eq!((&group(3, 1)["value"], &group(3, 1)["wall_secs_per_kept"]), (&json!("tune"), &Value::Null));
}

#[test]
fn samples_lie_at_the_thresholds_and_at_the_ends() {
    let samples = &figures(&World::whole(24))["samples"];
    let ids = |at: usize| -> Vec<&str> {
        samples["groups"][at]["cards"].as_array().unwrap().iter().map(|card| card["id"].as_str().unwrap()).collect()
    };
    let names: Vec<&str> =
        samples["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["just accepted", "just rejected", "best", "worst"]);
    assert_eq!(ids(0)[..2], ["c0000009", "c0000010"]);
    assert_eq!(ids(1)[..2], ["c0000008", "c0000007"]);
    assert_eq!((ids(2)[0], ids(3)[0]), ("c0000015", "c0000000"));
    let card = &samples["groups"][0]["cards"][0];
    assert_eq!(card["instruction"], "Put it there 1");
    assert_eq!(card["scores"], json!([["clip", "0.360"], ["dino", "0.603"]]));
    let roles: Vec<&str> =
        card["pictures"].as_array().unwrap().iter().map(|picture| picture["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["x", "w", "x~"]);
    assert_eq!(samples["groups"][1]["cards"][0]["reason"], "dino >= 0.6");
}

#[test]
fn the_sweep_has_a_row_for_each_reference_and_a_column_for_each_alpha() {
    let sweep = &figures(&World::whole(24))["sweep"];
    assert_eq!(sweep["alphas"], json!(["0", "0.500", "1"]));
    assert_eq!((sweep["rows"].as_array().unwrap().len(), &sweep["n_pairs"]), (4, &json!(4)));
    let row = &sweep["rows"][1];
    assert_eq!((&row["reference_id"], &row["donor"]["role"]), (&json!("a0000001"), &json!("w")));
    let cells: Vec<&str> =
        row["cells"].as_array().unwrap().iter().map(|cell| cell["candidate_id"].as_str().unwrap()).collect();
    assert_eq!(cells, ["c0000005", "c0000009", "c0000013"]);
}

#[test]
fn scores_dialogues_and_faults_are_told() {
    let figures = figures(&World::whole(24));
    let clip = &figures["scores"][0]["histograms"][0];
    assert_eq!((&clip["score"], &clip["bounds"][0]["label"]), (&json!("clip"), &json!("≥ 0.300")));
    let sum = |key: &str| clip["bins"].as_array().unwrap().iter().map(|bin| bin[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("n_accepted"), sum("n_rejected"), sum("n_undecided")), (7, 9, 0));
    let scatter = &figures["scores"][0]["scatter"];
    assert_eq!((&scatter["x"], &scatter["y"], &scatter["n_points"]), (&json!("clip"), &json!("dino"), &json!(16)));
    let dialogues = &figures["dialogues"];
    assert_eq!(dialogues["speech_acts"], json!({ "directive": 6, "question": 1 }));
    // One of each speech act before two of any.
    assert_eq!(dialogues["dialogues"][1]["y"], "user says c0000015");
    assert_eq!(dialogues["dialogues"].as_array().unwrap().len(), 5);
    assert_eq!(figures["faults"]["classes"][0]["examples"], json!([["b<ad>.png", "is not a picture"]]));
}

/// Nothing that the page has comes from elsewhere, and nothing that comes from data is markup.
pub(super) fn is_harmless(html: &str) {
    for wrong in
        ["<script", "<link", "<iframe", "javascript:", "src=\"http", "href=\"http", "url(", "@import", "onerror="]
    {
        // Text that was escaped may say `onerror=`: a quotation mark in front of it would have been needed.
        let found = html.match_indices(wrong).any(|(at, _)| wrong != "onerror=" || html[..at].ends_with("\" "));
        assert!(!found, "{wrong} is on the page");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn what_comes_from_data_is_escaped() {
    const HOSTILE: &str = "</p><script>alert(1)</script><img src=x onerror=\"alert(2)\">{{ 7 * 7 }}";
    let mut world = World::references(24);
    let ids: Vec<String> = (0..4).map(|row| format!("\"><script>{row}")).collect();
    let pairs = df!(
        "pair_id" => &ids, "reference_id" => ["a0000000", "a0000001", "a0000002", "a0000003"], "class" => [HOSTILE; 4],
        "family" => [HOSTILE; 4], "instruction" => [HOSTILE; 4], "caption" => [HOSTILE; 4],
    );
    world.put("pairs", "instruct", pairs.unwrap());
    world.put("scores", HOSTILE, df!("pair_id" => &ids, HOSTILE => [1.0, 2.0, 3.0, f64::NAN]).unwrap());
    let verdicts = df!("pair_id" => &ids, "accepted" => [true, false, false, false], "reason" => [None, Some(HOSTILE), Some(HOSTILE), None::<&str>]);
    world.put("verdicts", "filter", verdicts.unwrap());
    let dialogues =
        df!("candidate_id" => [HOSTILE], "speech_act" => [HOSTILE], "y" => [HOSTILE], "y_tilde" => [HOSTILE]);
    world.put("dialogues", "dialogue", dialogues.unwrap());
    let mut facts = facts(&world);
    facts.manifest = HOSTILE.to_owned();
    facts.audit.notes = vec![HOSTILE.to_owned()];
    facts.quarantine.push(quarantined(HOSTILE, HOSTILE, HOSTILE));
    let html = Report::new(&facts).unwrap().to_html().unwrap();
    is_harmless(&html);
    assert!(html.matches("&lt;script&gt;").count() > 10, "the hostile text is not shown at all");
    assert!(html.contains("{{ 7 * 7 }}"), "data was taken for a template");
}

#[test]
fn a_page_is_whole_bounded_and_always_the_same() {
    let mut world = World::whole(200);
    let long = "many words ".repeat(10_000);
    let ids: Vec<String> = (0..200).map(|row| format!("long{row:04}")).collect();
    let classes: Vec<String> = (0..200).map(|row| format!("class {row} {long}")).collect();
    let pairs = df!("pair_id" => &ids, "reference_id" => vec!["a0000000"; 200], "class" => &classes, "instruction" => vec![long.as_str(); 200]);
    // Nodes of their own: all shards of a node have the same columns.
    world.put("pairs", "import", pairs.unwrap());
    let mut candidates = df!("candidate_id" => &ids, "pair_id" => &ids, "generator" => &classes).unwrap();
    candidates.with_column(images((0..200).map(|row| noise(40, row)).collect())).unwrap();
    world.put("candidates", "import", candidates);
    let facts = facts(&world);
    let html = Report::new(&facts).unwrap().to_html().unwrap();
    is_harmless(&html);
    assert!(html.len() < 5_000_000, "{} bytes", html.len());
    for section in ["funnel", "scores", "yields", "sweep", "samples", "dialogues", "costs", "faults", "provenance"] {
        assert!(html.contains(&format!("id=\"{section}\"")), "{section} is missing");
    }
    // Every picture has a text in its place.
    let n_images = html.matches("<img ").count();
    assert!(n_images > 50 && html.matches("alt=\"").count() >= n_images, "{n_images}");
    assert_eq!(Report::new(&facts).unwrap().to_html().unwrap(), html);
}

#[test]
fn small_projects_have_small_reports() {
    let nothing = Facts { source: QuerySource::default(), ..facts(&World::empty()) };
    let html = Report::new(&nothing).unwrap().to_html().unwrap();
    assert!(!html.contains("id=\"scores\"") && html.contains("id=\"costs\""));

    let mut world = World::references(24);
    let ids = ["a0000000", "a0000001", "a0000002", "a0000003"];
    world.put("scores", "measure", df!("reference_id" => ids, "sharpness" => [1.0, 2.0, 3.0, 4.0]).unwrap());
    let report = Report::new(&facts(&world)).unwrap();
    let figures = report.to_json();
    assert_eq!(figures["head"]["units"], "references");
    assert_eq!(figures["samples"]["groups"][0]["name"], "highest scores");
    assert_eq!(figures["samples"]["groups"][0]["cards"][0]["id"], "a0000003");
    assert_eq!(figures["yields"]["is_judged"], false);
    assert!(figures["sweep"].is_null() && figures["dialogues"].is_null() && figures["comparison"].is_null());
    is_harmless(&report.to_html().unwrap());
}

#[test]
fn a_picture_that_cannot_be_shown_says_why() {
    let mut world = World::empty();
    let mut rows = df!("reference_id" => ["a0000000"], "class" => ["dog"]).unwrap();
    rows.with_column(images(vec![b"not a picture".to_vec()])).unwrap();
    world.put("references", "collect", rows);
    world.put("scores", "measure", df!("reference_id" => ["a0000000"], "sharpness" => [1.0]).unwrap());
    let html = Report::new(&facts(&world)).unwrap().to_html().unwrap();
    assert!(html.contains("is not a picture in JPEG"), "the fault is not told");
}
