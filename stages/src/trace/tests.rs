//! Traces of projects made by hand.

use serde_json::json;

use super::*;
use crate::testing::world::{World, quarantined};

fn books(world: &World) -> Books {
    let quarantine = vec![
        quarantined("score", "c0000003", "the picture is damaged"),
        quarantined("collect", "photos/bad.png", "is not a picture"),
    ];
    Books { source: world.source(), ledger: world.ledger(), quarantine }
}

fn kinds(trace: &Trace) -> Vec<(&str, &str)> {
    trace.chain.iter().map(|link| (link.kind, link.id.as_str())).collect()
}

#[test]
fn a_candidate_is_followed_up_and_down() {
    let world = World::whole(24);
    let trace = trace(&books(&world), "c0000009").unwrap();
    let wanted = [
        ("reference", "a0000001"),
        ("pair", "b0000001"),
        ("w", "d0000001"),
        ("candidate", "c0000009"),
        ("quadruplet", "f0000000"),
    ];
    assert_eq!(kinds(&trace), wanted);
    let candidate = &trace.chain[3];
    let tables: Vec<(&str, &str)> = candidate.rows.iter().map(|row| (row.table.as_str(), row.node.as_str())).collect();
    let wanted = [
        ("candidates", "sid"),
        ("dialogues", "dialogue"),
        ("scores", "clip"),
        ("scores", "dino"),
        ("verdicts", "filter"),
    ];
    assert_eq!(tables, wanted);
    assert_eq!((candidate.rows[0].row, &candidate.rows[0].values["alpha"]), (5, &json!(0.5)));
    assert_eq!(candidate.rows[1].values["raw_reply"], "model says c0000009");
    // Not the pixels, but what tells them apart.
    let image = &candidate.rows[0].values["image"];
    assert!(image["bytes"]["n_bytes"].as_u64().unwrap() > 100 && image["path"] == "a.png", "{image}");

    // The lost attempt is told as well.
    let sid: Vec<&str> = trace
        .attempts
        .iter()
        .filter(|attempt| attempt.entry.node == "sid")
        .map(|attempt| attempt.entry.outcome.as_str())
        .collect();
    assert_eq!(sid, ["lost", "committed"]);
    let of_sid = trace.attempts.iter().find(|attempt| attempt.entry.node == "sid").unwrap();
    assert_eq!((of_sid.n_rows, of_sid.wall_ms_per_row), (12, 1000.0 / 12.0));
}

#[test]
fn every_kind_of_id_can_be_asked_for() {
    let world = World::whole(24);
    let books = books(&world);
    let quadruplet = trace(&books, "f0000000").unwrap();
    assert_eq!((quadruplet.kind, kinds(&quadruplet).len()), ("quadruplet", 5));
    assert!(quadruplet.made_of_it.is_empty());

    let pair = trace(&books, "b0000001").unwrap();
    assert_eq!(kinds(&pair), [("reference", "a0000001"), ("pair", "b0000001")]);
    assert_eq!((pair.made_of_it["candidate"].n, pair.made_of_it["w"].n), (4, 1));
    assert_eq!(pair.made_of_it["candidate"].ids, ["c0000001", "c0000005", "c0000009", "c0000013"]);

    let reference = trace(&books, "a0000001").unwrap();
    let n = |name: &str| reference.made_of_it[name].n;
    assert_eq!((kinds(&reference).len(), n("pair"), n("w"), n("candidate"), n("quadruplet")), (1, 1, 1, 4, 2));
    assert_eq!(trace(&books, "d0000001").unwrap().kind, "w");
}

#[test]
fn a_beginning_is_enough_when_there_is_only_one() {
    let world = World::whole(24);
    let books = books(&world);
    assert_eq!(
        trace(&books, " c000001 ").unwrap_err().to_string().split(':').next(),
        Some("`c000001` is the beginning of 6 ids")
    );
    assert_eq!(trace(&books, "f000000").err().map(|error| error.to_string().contains("7 ids")), Some(true));
    let mut world = World::references(24);
    world.put(
        "pairs",
        "instruct",
        polars::prelude::df!("pair_id" => ["77aa"], "reference_id" => ["a0000000"]).unwrap(),
    );
    let books = Books { source: world.source(), ledger: Vec::new(), quarantine: Vec::new() };
    assert_eq!(trace(&books, "77aa").unwrap().id, "77aa");
}

#[test]
fn an_unknown_id_is_answered_with_those_that_are_near() {
    let world = World::whole(24);
    let books = books(&world);
    let said = |id: &str| trace(&books, id).unwrap_err().to_string();
    assert!(said("c00000x9").contains("near are `c0000009`"), "{}", said("c00000x9"));
    assert!(said("a0000001.png").contains("near are `a0000001`"), "{}", said("a0000001.png"));
    assert!(said("zzzzzzzzzzzz").contains("shows some that there are"), "{}", said("zzzzzzzzzzzz"));
    let bad = said("photos/bad.png");
    assert!(bad.contains("collect put it into quarantine (corrupt): is not a picture"), "{bad}");
}

#[test]
fn quarantine_is_part_of_the_story_and_the_text_has_all_of_it() {
    let world = World::whole(24);
    let trace = trace(&books(&world), "c0000003").unwrap();
    assert_eq!(trace.chain.last().unwrap().quarantine.len(), 1);
    let text = to_text(&trace);
    for wanted in [
        "candidate c0000003  (asked for)",
        "  verdicts, by filter, shard 0, row 3",
        "clip >= 0.3; dino >= 0.6",
        "in quarantine, by score: corrupt: the picture is damaged",
        "CC0-1.0",
        "wall per row",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
    }
    // Values that are the id itself, or nothing, are left out.
    assert!(!text.contains("null") && !text.contains("w_id"), "{text}");
}
