//! Candidates with what is said about them.

use serde_json::json;

use super::*;
use crate::ids;

/// Candidate, index, y and y~ of each dialogue.
fn dialogues(rows: &[(&str, u32, &str, &str)]) -> DataFrame {
    df!(
        "candidate_id" => rows.iter().map(|row| row.0).collect::<Vec<_>>(),
        "dialogue_index" => rows.iter().map(|row| row.1).collect::<Vec<_>>(),
        "y" => rows.iter().map(|row| row.2).collect::<Vec<_>>(),
        "y_tilde" => rows.iter().map(|row| row.3).collect::<Vec<_>>(),
        "model" => vec!["told"; rows.len()],
    )
    .unwrap()
}

#[test]
fn a_row_is_a_candidate_with_one_of_its_dialogues() {
    let mut bench = bench(4);
    let plain = publish(&mut bench, json!({}));
    let (first, second) = ([("c01", 1, "More?", "More."), ("c00", 0, "Beach!", "Here.")], [("c01", 0, "Sun?", "Sun.")]);
    // The last is of a rejected candidate, and the one before it is there already.
    let third = [("c03", 0, "Rain.", "It rains."), ("c03", 1, "Rain.", "It rains."), ("c02", 0, "No.", "No.")];
    bench.put("dialogues", vec![dialogues(&first), dialogues(&second), dialogues(&third)]);
    let release = publish(&mut bench, json!({}));
    assert_digests(&release);
    let rows = release.all_rows().sort(["candidate_id", "y"], SortMultipleOptions::default()).unwrap();
    let said: Vec<(String, String, String)> = column(&rows, "candidate_id")
        .into_iter()
        .zip(column(&rows, "y"))
        .zip(column(&rows, "y_tilde"))
        .map(|((id, y), y_tilde)| (id, y, y_tilde))
        .collect();
    let text = |(id, y, y_tilde): (&str, &str, &str)| (id.to_owned(), y.to_owned(), y_tilde.to_owned());
    let expected =
        [("c00", "Beach!", "Here."), ("c01", "More?", "More."), ("c01", "Sun?", "Sun."), ("c03", "Rain.", "It rains.")];
    assert_eq!(said, expected.map(text));
    let ids: Vec<String> =
        expected.map(|(id, y, y_tilde)| ids::quadruplet_id("candidate_id", id, Some(y), Some(y_tilde))).to_vec();
    assert_eq!(column(&rows, "quadruplet_id"), ids);
    // Of one candidate, in the order of the dialogues.
    assert_eq!(column(&release.packed.tables["quadruplets"], "y")[..3], ["Beach!", "Sun?", "More?"]);
    let Some(cafe_pipeline::catalog::Effect::Quadruplets(units)) = release.ran.effects.get(1) else { panic!() };
    assert_eq!(units.len(), 4);
    assert!(units.iter().all(|unit| ids.contains(&unit.quadruplet_id)));

    assert_eq!(release.json["rows"]["rejected"], json!({"clip >= 0.3": 8, "no dialogue": 13}));
    assert_eq!(release.json["rows"]["accepted"], json!(4));
    assert_eq!(release.json["dialogues"], json!({"n_dialogues": 6, "models": {"told": 6}}));
    assert_eq!(release.json["provenance"]["tables"]["dialogues"]["n_rows"], json!(6));
    // Without dialogues, and where they are not wanted, the instruction is what the user says.
    let ignoring = publish(&mut bench, json!({"dialogues": "ignore"}));
    assert_eq!(ignoring.all_rows().height(), plain.all_rows().height());
    assert_eq!(column(&ignoring.all_rows(), "y"), column(&plain.all_rows(), "y"));
    assert!(plain.json.get("dialogues").is_none());
}

#[test]
fn a_release_of_candidates_that_nobody_speaks_about_is_empty() {
    let mut bench = bench(4);
    bench.put("dialogues", vec![dialogues(&[])]);
    let release = publish(&mut bench, json!({}));
    assert_digests(&release);
    assert_eq!(release.json["n_rows"], json!(0));
    assert_eq!(release.json["rows"]["rejected"]["no dialogue"], json!(16));
}
