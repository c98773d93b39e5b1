//! `select`, from its keys to its verdicts.

use cafe_pipeline::stage::{Work, WorkError};
use polars::prelude::*;
use serde_json::{Value, json};

use super::set_threshold;
use super::tests::{compile, reasons};
use crate::tables;
use crate::testing::Bench;

/// Two pairs: four candidates of the one, with two w, and one of the other.
fn several() -> Bench {
    let mut bench = Bench::new();
    let candidates = df!(
        "candidate_id" => ["e", "d", "c", "b", "a"], "pair_id" => ["p", "p", "p", "p", "q"],
        "w_id" => [Some("v"), Some("v"), Some("w"), Some("w"), None]
    );
    bench.put(tables::CANDIDATES, vec![candidates.unwrap()]);
    let scores = df!(
        "candidate_id" => ["a", "b", "c", "d", "e"], "clip" => [0.1, 0.5, 0.9, 0.5, 0.25], "dino" => [0.1, 0.5, 0.05, 0.5, 0.5]
    );
    bench.put(tables::SCORES, vec![scores.unwrap()]);
    bench
}

fn best_of(several: &str, by: &str, rules: Value) -> Value {
    json!({ "rules": rules, "select": { "best_of": several, "by": by } })
}

/// Why each of `e`, `d`, `c`, `b`, `a` is rejected.
fn chosen(bench: &Bench, config: Value) -> Vec<String> {
    let ran = bench.run(&compile(config).unwrap()).unwrap();
    reasons(&ran).into_iter().map(|reason| reason.unwrap_or_default()).collect()
}

#[test]
fn the_best_of_several_is_kept() {
    const LOST: &str = "not the best of its pair";
    let bench = several();
    assert_eq!(chosen(&bench, best_of("pair", "clip", json!([]))), [LOST, LOST, "", LOST, ""]);
    // Of equal ones the id that sorts first, though it stands last.
    assert_eq!(chosen(&bench, best_of("pair", "clip + dino", json!([]))), [LOST, LOST, LOST, "", ""]);
    assert_eq!(chosen(&bench, best_of("pair", "clip - 10 * dino", json!([]))), [LOST, LOST, "", LOST, ""]);
    let lost = "not the best of its donor";
    assert_eq!(chosen(&bench, best_of("donor", "clip", json!([]))), [lost, "", "", lost, ""]);
    // Who fails a rule does not compete, and keeps its own reason.
    let rules = json!([{"column": "dino", "min": 0.2}, {"column": "clip", "min": 0.3}]);
    assert_eq!(chosen(&bench, best_of("pair", "clip", rules)), ["clip >= 0.3", LOST, "dino >= 0.2", "", "dino >= 0.2"]);
}

#[test]
fn a_row_of_which_the_number_is_missing_does_not_compete() {
    let mut bench = several();
    let scores =
        df!("candidate_id" => ["a", "b", "c", "d", "e"], "clip" => [None, Some(0.5), Some(f64::NAN), Some(0.4), None]);
    bench.put(tables::SCORES, vec![scores.unwrap()]);
    let config = best_of("pair", "clip", json!([]));
    let (lost, missing) = ("not the best of its pair", "clip is missing");
    assert_eq!(chosen(&bench, config.clone()), [missing, lost, missing, "", missing]);
    let mut strict = config;
    strict["missing"] = json!("error");
    let ran = bench.run(&compile(strict).unwrap()).unwrap();
    assert_eq!(ran.quarantined.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(reasons(&ran), [Some(lost.to_owned()), None]);
}

#[test]
fn what_an_earlier_filter_refused_does_not_win() {
    let mut bench = several();
    let verdicts = df!(
        "candidate_id" => ["a", "b", "c", "d"], "accepted" => [true, true, false, true],
        "reason" => [None, None, Some("too dark"), None], "thresholds" => ["brightness >= 9"; 4]
    );
    // Of references, too: no business of those who compete, since a pair has one.
    let others = df!("reference_id" => ["r"], "accepted" => [false], "reason" => ["small"], "thresholds" => ["x"]);
    bench.put(tables::VERDICTS, vec![verdicts.unwrap(), others.unwrap()]);
    let found = chosen(&bench, best_of("pair", "clip", json!([])));
    assert_eq!(found, ["no verdict", "not the best of its pair", "too dark", "", ""]);
}

/// The batches of a shard are cut otherwise where memory is short: the choice is the same.
#[test]
fn the_choice_does_not_depend_on_the_batch() {
    let bench = several();
    let node = compile(best_of("pair", "clip", json!([]))).unwrap();
    let Work::Rows(work) = &node.work else { panic!("a filter judges rows") };
    let whole = reasons(&bench.run(&node).unwrap());
    let context = bench.context();
    for (row, id) in ["e", "d", "c", "b", "a"].into_iter().enumerate() {
        let alone = work.prepare(&context, df!("candidate_id" => [id]).unwrap()).unwrap();
        let verdicts = work.process(&context, &alone).unwrap().tables.remove(tables::VERDICTS).unwrap();
        let reason = verdicts.column("reason").unwrap().cast(&DataType::String).unwrap();
        assert_eq!(reason.str().unwrap().get(0).map(ToOwned::to_owned), whole[row], "{id}");
    }
}

#[test]
fn the_choice_is_the_last_of_the_rules() {
    let rules = json!([{"column": "clip", "min": 0.3}]);
    let all = compile(json!({ "rules": rules })).unwrap();
    assert_eq!((all.reads.len(), all.settings.get("select")), (2, None));
    let best = compile(best_of("pair", " clip + dino ", rules)).unwrap();
    assert_eq!(best.settings["select"], "the best of its pair by clip + dino");
    assert_eq!(best.reads[0].columns, ["candidate_id", "pair_id", "w_id"]);
    assert_eq!(best.reads[1].columns, ["clip", "dino"]);
    assert!(best.reads[2].is_optional && best.reads[2].table == tables::VERDICTS);
    let ran = several().run(&best).unwrap();
    let thresholds = ran.tables[tables::VERDICTS].column("thresholds").unwrap();
    assert_eq!(thresholds.str().unwrap().get(0), Some("clip >= 0.3; the best of its pair by clip + dino"));
    assert_eq!(ran.tables[tables::VERDICTS].width(), 4);
}

#[test]
fn a_choice_that_cannot_be_made_is_refused() {
    let cases = [
        (best_of("pair", "clip > 0.3", json!([])), "/select/by", "is a condition: a number is wanted"),
        (best_of("pair", "3", json!([])), "/select/by", "looks at no score"),
        (best_of("pair", "MAX(clip)", json!([])), "/select/by", "is more than columns"),
        (best_of("pair", "clip +", json!([])), "/select/by", "does not parse"),
        (best_of("pair", "w_id", json!([])), "/select/by", "is an id, not a score"),
        (
            json!({"reads": "pairs", "select": {"best_of": "pair", "by": "n"}}),
            "/select",
            "only candidates are several of one pair, and `reads` is `pairs`",
        ),
    ];
    for (config, pointer, message) in cases {
        let issues = compile(config.clone()).expect_err(&config.to_string());
        assert_eq!((issues.len(), issues[0].pointer.as_str()), (1, pointer), "{config}: {issues:?}");
        assert!(issues[0].message.contains(message), "{config}: {issues:?}");
    }
    assert!(compile(json!({"select": {"best_of": "pair"}})).is_err());
    let mut bench = several();
    bench.put(tables::SCORES, vec![df!("candidate_id" => ["a"], "clip" => ["high"]).unwrap()]);
    match bench.run(&compile(best_of("pair", "clip", json!([]))).unwrap()) {
        Err(WorkError::Systemic(message)) => assert!(message.contains("has the type str"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_threshold_chooses_anew() {
    let mut config = best_of("pair", "clip", json!([{"column": "dino", "min": 0.2}]));
    let before = chosen(&several(), config.clone());
    assert_eq!(set_threshold(&mut config, "dino", Some(0.01), None), Ok(true));
    assert_eq!(config["select"], json!({ "best_of": "pair", "by": "clip" }));
    let after = chosen(&several(), config);
    assert_eq!((before[3].as_str(), after[3].as_str(), after[2].as_str()), ("", "not the best of its pair", ""));
}
