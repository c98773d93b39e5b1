//! Which rows are published: verdicts, licences, and the other tables.

use serde_json::json;

use super::*;

fn published(bench: &mut Bench, config: Value) -> (usize, Value) {
    let release = publish(bench, config);
    assert_digests(&release);
    (release.all_rows().height(), release.json["rows"]["rejected"].clone())
}

#[test]
fn licences_are_allowed_or_denied() {
    let mut bench = bench(4);
    let (n, rejected) = published(&mut bench, json!({"filtered": false, "licences": {"allow": ["cc0-1.0"]}}));
    assert_eq!((n, rejected), (12, json!({"licence not allowed: CC-BY-4.0": 6, "licence unknown": 6})));
    let (n, rejected) = published(&mut bench, json!({"filtered": false, "licences": {"deny": ["CC-BY-4.0"]}}));
    assert_eq!((n, rejected), (18, json!({"licence denied: CC-BY-4.0": 6})));
    let config = json!({"filtered": false, "licences": {"deny": ["CC-BY-4.0"]}, "require_licence": true});
    let (n, rejected) = published(&mut bench, config);
    assert_eq!((n, rejected), (12, json!({"licence denied: CC-BY-4.0": 6, "licence unknown": 6})));
    let (n, rejected) = published(&mut bench, json!({"require_licence": true}));
    // The filter's reason comes first.
    assert_eq!((n, rejected), (12, json!({"clip >= 0.3": 8, "licence unknown": 4})));
}

#[test]
fn references_and_pairs_are_published_without_candidates() {
    let mut bench = Bench::new();
    let references = references();
    bench.put("references", shards(&references, 5));
    bench.put("pairs", shards(&pairs(), 10));
    bench.put("scores", shards(&scores("reference_id", &references, "sharpness", |row| row as f64), 5));
    bench.put("verdicts", shards(&verdicts("reference_id", &references, third), 5));

    let release = publish(&mut bench, json!({"of": "references"}));
    assert_digests(&release);
    let rows = release.all_rows();
    assert_eq!(rows.height(), 8);
    assert!(rows.column("target_image").is_err() && rows.column("y").is_err() && rows.column("pair_id").is_err());
    assert_eq!(rows.column("score_sharpness").unwrap().f64().unwrap().get(0), Some(0.0));
    assert_eq!(column(&rows, "caption")[0], "picture 0");
    assert_eq!(release.json["splits"], json!({"train": 8}));

    // A rejected reference rejects its pairs.
    let references_only = bench.context().inputs["verdicts"].len();
    let all = verdicts("pair_id", &pairs(), |row| (row == 0).then_some("first"));
    let mut both = shards(&all, 10);
    both.extend(shards(&verdicts("reference_id", &references, third), 5));
    bench.put("verdicts", both);
    assert!(bench.context().inputs["verdicts"].len() > references_only);
    let release = publish(&mut bench, json!({"of": "pairs"}));
    assert_digests(&release);
    assert_eq!(release.all_rows().height(), 15);
    assert_eq!(release.json["rows"]["rejected"], json!({"first": 1, "references: clip >= 0.3": 8}));
    assert_eq!(column(&release.all_rows(), "y")[0], "Put it on beach 1: \"there\".");
    assert!(release.all_rows().column("score_reference_sharpness").is_ok());
    let Some(cafe_pipeline::catalog::Effect::Quadruplets(units)) = release.ran.effects.get(1) else { panic!() };
    assert_eq!(units[0].candidate_id, "r00");
}

#[test]
fn a_row_without_a_verdict_is_not_accepted() {
    let mut bench = bench(4);
    let half = candidates().slice(0, 12);
    bench.put("verdicts", vec![verdicts("candidate_id", &half, |_| None)]);
    let (n, rejected) = published(&mut bench, json!({}));
    assert_eq!((n, rejected), (12, json!({"no verdict": 12})));
    // Two filters: both must accept.
    bench.put("verdicts", Vec::new());
    let (n, rejected) = published(&mut bench, json!({}));
    assert_eq!((n, rejected), (0, json!({"no verdict": 24})));
}

#[test]
fn a_reference_to_nothing_is_counted() {
    let mut bench = bench(4);
    bench.put("pairs", vec![pairs().slice(2, 22)]);
    bench.put("references", vec![references().slice(0, 11)]);
    let (n, rejected) = published(&mut bench, json!({"filtered": false}));
    let expected = json!({
        "refers to a row that `pairs` does not have": 2,
        "refers to a row that `references` does not have": 2,
    });
    assert_eq!((n, rejected), (20, expected));
}

#[test]
fn a_row_that_stands_twice_is_published_once() {
    let mut bench = bench(4);
    bench.put("candidates", vec![candidates(), candidates().slice(3, 2)]);
    let (n, rejected) = published(&mut bench, json!({"filtered": false}));
    assert_eq!((n, rejected), (24, json!({"stands in the table twice": 2})));
}

#[test]
fn nothing_accepted_is_an_empty_release_that_says_so() {
    let mut bench = bench(4);
    bench.put("verdicts", vec![verdicts("candidate_id", &candidates(), |_| Some("dino >= 0.6"))]);
    let nodes = nodes(json!({"release": "none"}));
    let packed = bench.run(&nodes[0]).unwrap();
    assert_eq!(packed.tables["quadruplets"].height(), 0);
    assert_eq!(packed.tables["quadruplets"].schema().as_ref(), nodes[0].writes[0].columns.as_ref());
    // A listing without rows makes no shards.
    bench.put("quadruplets", Vec::new());
    let ran = bench.run(&nodes[1]).unwrap();
    let release = Release::read(&bench, packed, ran);
    assert_digests(&release);
    assert_eq!(release.json["n_rows"], 0);
    assert_eq!(
        release.json["warnings"],
        json!(["this release is empty: none of the 24 rows of `candidates` was accepted"])
    );
    assert_eq!(release.json["rows"]["rejected"], json!({"dino >= 0.6": 24}));
    assert_eq!(release.all_rows().height(), 0);
    assert!(release.all_rows().column("target_image").is_ok());
    assert!(
        String::from_utf8(release.files["README.md"].clone()).unwrap().contains("> **Note:** this release is empty")
    );
}

#[test]
fn a_row_without_pixels_is_quarantined_and_the_release_says_so() {
    let mut bench = bench(4);
    let mut rows = candidates();
    let pictures = (0..24).map(|row| (row != 4).then(|| png(row))).collect();
    rows.replace("image", images(pictures)).unwrap();
    bench.put("candidates", vec![rows]);
    let release = publish(&mut bench, json!({}));
    assert_digests(&release);
    assert_eq!(release.packed.quarantined.len(), 1);
    assert_eq!(release.packed.quarantined[0].row, 3);
    assert!(release.packed.quarantined[0].message.contains("target_image"));
    assert_eq!(release.json["rows"]["quarantined"], 1);
    assert_eq!(release.json["warnings"], json!(["1 accepted rows are missing: they are in quarantine"]));
    assert!(!column(&release.all_rows(), "candidate_id").contains(&"c04".to_owned()));
}

#[test]
fn odd_splits_and_names_stay_harmless() {
    let mut bench = bench(4);
    let mut rows = references();
    let splits: Vec<Option<&str>> = (0..12).map(|row| [Some("../../etc"), None, Some("")][row % 3]).collect();
    rows.replace("split", Column::new("split".into(), splits)).unwrap();
    bench.put("references", vec![rows]);
    let release = publish(&mut bench, json!({}));
    assert_digests(&release);
    assert_eq!(release.json["splits"], json!({"______etc": 8, "train": 8}));
}

#[test]
fn two_scorers_that_write_the_same_score_are_told_apart() {
    let mut bench = bench(4);
    let one = scores("candidate_id", &candidates(), "clip", |_| 0.5);
    let other = scores("candidate_id", &candidates(), "clip", |_| 0.6);
    bench.put("scores", vec![one, other]);
    let error = bench.run(&nodes(json!({}))[0]).unwrap_err().to_string();
    assert!(error.contains("`clip`") && error.contains("another name"), "{error}");
    assert!(bench.run(&nodes(json!({"scores": false}))[0]).is_ok());
}

#[test]
fn scores_without_a_number_are_null() {
    let mut bench = bench(4);
    bench.put(
        "scores",
        vec![scores("candidate_id", &candidates(), "clip", |row| if row == 0 { f64::NAN } else { 0.5 })],
    );
    let release = publish(&mut bench, json!({}));
    let rows = release.all_rows();
    let clip = rows.column("score_clip").unwrap().f64().unwrap().clone();
    assert_eq!((clip.get(0), clip.get(1)), (None, Some(0.5)));
    assert_eq!(release.json["scores"]["clip"]["n_rows"], 15);
}
