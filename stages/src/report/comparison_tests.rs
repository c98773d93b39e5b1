//! Generators and rounds, and the paper's sets beside them.

use polars::prelude::*;
use serde_json::{Value, json};

use super::Report;
use super::tests::{facts, is_harmless};
use crate::testing::world::{World, images, noise};

#[test]
fn generators_and_rounds_stand_beside_the_papers_sets() {
    let near = |value: &Value, wanted: f64| (value.as_f64().unwrap() / wanted - 1.0).abs() < 0.005;
    let mut world = World::references(24);
    let ids: Vec<String> = (0..8).map(|row| format!("c{row}")).collect();
    let pairs = df!("pair_id" => &ids, "reference_id" => ["a0000000"; 8]).unwrap();
    world.put("pairs", "instruct", pairs);
    for (generator, round, rows) in [("tune", 0_u32, 0..4), ("sid", 1, 4..8)] {
        let own = &ids[rows];
        let mut candidates =
            df!("candidate_id" => own, "pair_id" => own, "generator" => [generator; 4], "round" => [round; 4]).unwrap();
        candidates.with_column(images((0..4).map(|row| noise(24, row)).collect())).unwrap();
        world.put("candidates", generator, candidates);
    }
    let accepted = [true, false, false, false, true, true, false, true];
    let reasons = accepted.map(|accepted| (!accepted).then_some("dark"));
    world.put(
        "verdicts",
        "filter",
        df!("candidate_id" => &ids, "accepted" => accepted, "reason" => reasons, "thresholds" => [""; 8]).unwrap(),
    );
    let secs = [Some(1.5), Some(2.0), None];
    world.put("reviews", "review", df!("candidate_id" => ["c0", "c0", "c4"], "secs" => secs).unwrap());
    let report = Report::new(&facts(&world)).unwrap();
    let comparison = &report.to_json()["comparison"];
    let (tune, sid, all) = (&comparison["sets"][0], &comparison["sets"][1], &comparison["total"]);
    assert_eq!((&tune["name"], &sid["name"]), (&json!("tune, round 0"), &json!("sid, round 1")));
    assert_eq!(
        (&tune["n"], &tune["n_kept"], &sid["n_kept"], &all["n_kept"]),
        (&json!(4), &json!(1), &json!(3), &json!(4))
    );
    assert_eq!(
        (&sid["kept_share"], &tune["people_secs"], &sid["people_secs"]),
        (&json!(0.75), &json!(3.5), &Value::Null)
    );
    // An attempt of 0.8 s at each shard, and a lost one before it at that of `sid`, which needs the round before.
    assert!(near(&tune["device_secs_per_kept"], 0.8) && near(&sid["device_secs_per_kept"], 1.6 / 3.0), "{comparison}");
    assert!(near(&tune["device_secs_in_all"], 0.8) && near(&sid["device_secs_in_all"], 2.4), "{comparison}");
    assert!(near(&all["device_secs_in_all_per_kept"], 2.4 / 4.0), "{comparison}");
    assert_eq!((&sid["devices"], &sid["id"]), (&json!(["cpu"]), &Value::Null));

    // What the paper says of its own sets: 174 s and 36.5 s of their own, 280 s and 117 s with what they need.
    let paper = |at: usize, key: &str| comparison["paper"][at][key].clone();
    assert!(near(&paper(0, "device_secs_per_kept"), 174.0) && near(&paper(2, "device_secs_per_kept"), 36.5));
    assert!(near(&paper(2, "device_secs_in_all_per_kept"), 280.0) && near(&paper(3, "device_secs_per_kept"), 117.0));
    assert!(near(&paper(0, "kept_share"), 0.069) && paper(2, "n").is_null());
    let html = report.to_html().unwrap();
    is_harmless(&html);
    for told in ["arXiv 2312.03045, Table 3", "nothing of them was measured here", "D3: drawn by", "10,000 h", "A100"] {
        assert!(html.contains(told), "`{told}` is not told");
    }
}

#[test]
fn any_number_of_generators_is_summed_up() {
    let mut world = World::references(24);
    let ids: Vec<String> = (0..40).map(|row| format!("c{row}")).collect();
    let names: Vec<String> = (0..40).map(|row| format!("<b>{}", row % 20)).collect();
    let mut candidates = df!("candidate_id" => &ids, "pair_id" => &ids, "generator" => names).unwrap();
    candidates.with_column(images((0..40).map(|row| noise(24, row)).collect())).unwrap();
    world.put("candidates", "import", candidates);
    let report = Report::new(&facts(&world)).unwrap();
    let comparison = &report.to_json()["comparison"];
    let sets = comparison["sets"].as_array().unwrap();
    assert_eq!((sets.len(), &sets[12]["name"], &sets[12]["n"]), (13, &json!("8 others"), &json!(16)));
    assert_eq!(comparison["total"]["n"], 40);
    assert!(!report.to_html().unwrap().contains("<b>"));
}
