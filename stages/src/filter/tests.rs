//! Every kind of rule, over scores that are there, missing, or no numbers.

use std::path::Path;

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, NodeDecl, StageDecl, StageKind, WorkError};
use polars::prelude::*;
use serde_json::{Value, json};

use super::{FilterKind, set_threshold};
use crate::testing::{Bench, Ran};

fn compile(config: Value) -> Result<NodeDecl, Vec<String>> {
    let context = CompileContext { manifest_dir: Path::new("."), seed: Seed(7), model_family: None };
    FilterKind
        .compile(&StageDecl { name: "filter".to_owned(), config }, &context)
        .map(|mut nodes| nodes.remove(0))
        .map_err(|issues| issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect())
}

/// Five candidates, two scorers; the second knows nothing of `e`.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.put("candidates", vec![df!("candidate_id" => ["a", "b", "c", "d", "e"]).unwrap()]);
    bench.put(
        "scores",
        vec![
            df!("candidate_id" => ["a", "b", "c", "d", "e"], "clip" => [0.4, 0.3, 0.29, f64::NAN, 0.5]).unwrap(),
            df!("candidate_id" => ["d", "c", "b", "a"], "dino" => [0.9, 0.1, 0.59, 0.6], "n" => [4_i64, 3, 2, 1])
                .unwrap(),
        ],
    );
    bench
}

fn reasons(ran: &Ran) -> Vec<String> {
    let verdicts = &ran.tables["verdicts"];
    let reasons = verdicts.column("reason").unwrap().str().unwrap();
    let accepted = verdicts.column("accepted").unwrap().bool().unwrap();
    for (accepted, reason) in accepted.iter().zip(reasons.iter()) {
        assert_eq!(accepted, Some(reason.is_none()));
    }
    reasons.iter().map(|reason| reason.unwrap_or("accepted").to_owned()).collect()
}

fn run(config: Value) -> Ran {
    bench().run(&compile(config).unwrap()).unwrap()
}

#[test]
fn the_first_rule_that_fails_is_the_reason() {
    let ran = run(json!({ "preset": "cafe-2023" }));
    assert_eq!(reasons(&ran), ["accepted", "dino < 0.6", "clip < 0.3", "clip is missing", "dino is missing"]);
    let thresholds = ran.tables["verdicts"].column("thresholds").unwrap().str().unwrap().get(0).unwrap().to_owned();
    assert_eq!(thresholds, "clip >= 0.3; dino >= 0.6");
}

#[test]
fn bounds_hold_at_the_bound_and_whole_numbers_are_numbers() {
    let ran = run(json!({ "rules": [{ "column": "n", "min": 2, "max": 3 }] }));
    assert_eq!(reasons(&ran), ["n < 2", "accepted", "accepted", "n > 3", "n is missing"]);
}

#[test]
fn expressions_reach_over_scorers() {
    let ran = run(
        json!({ "rules": [{ "expr": "clip + dino >= 0.85 AND n < 4" }, { "expr": "clip > 0.35", "name": "weak" }] }),
    );
    let failed = "not (clip + dino >= 0.85 AND n < 4)";
    assert_eq!(reasons(&ran), ["accepted", "weak", failed, "clip is missing", "dino is missing"]);
}

#[test]
fn missing_scores_can_be_an_error() {
    let ran = run(json!({ "rules": [{ "column": "clip", "min": 0.0 }], "missing": "error" }));
    assert_eq!(ran.quarantined.len(), 1);
    assert_eq!((ran.quarantined[0].row, ran.tables["verdicts"].height()), (3, 4));
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let message = |config: Value| compile(config).unwrap_err().join("\n");
    assert!(message(json!({})).contains("there is no rule"));
    assert!(
        message(json!({ "rules": [{ "column": "clip" }] })).starts_with("/rules/0: the rule for `clip` has no bound")
    );
    assert!(message(json!({ "rules": [{ "column": "c", "min": 2, "max": 1 }] })).contains("at least 2 and at most 1"));
    for (expr, wanted) in [
        ("clip >", "is not an expression"),
        ("clip + 1", "is f64, a condition was expected"),
        ("1 < 2", "names no score"),
        ("clip > AVG(clip)", "more than one row"),
        ("upper(clip) = 'A'", "cannot be computed from numbers"),
        ("SELECT clip FROM scores", "/rules/0/expr"),
    ] {
        let text = message(json!({ "rules": [{ "expr": expr }] }));
        assert!(text.contains("/rules/0/expr") && text.contains(wanted), "{expr}: {text}");
    }
    assert!(
        message(json!({ "reads": "scores", "rules": [{ "column": "clip", "min": 1 }] })).contains("cannot be filtered")
    );
}

#[test]
fn two_scorers_with_one_name_and_texts_are_refused() {
    let mut bench = bench();
    let scores = df!("candidate_id" => ["a"], "clip" => [0.4]).unwrap();
    bench.put("scores", vec![scores.clone(), scores]);
    let node = compile(json!({ "rules": [{ "column": "clip", "min": 0 }] })).unwrap();
    let Err(WorkError::Systemic(message)) = bench.run(&node) else { panic!("was accepted") };
    assert!(message.contains("two stages write the score `clip`"), "{message}");
    bench.put("scores", vec![df!("candidate_id" => ["a"], "clip" => ["high"]).unwrap()]);
    let Err(WorkError::Systemic(message)) = bench.run(&node) else { panic!("was accepted") };
    assert!(message.contains("score `clip` is str, a number was expected"), "{message}");
}

#[test]
fn a_threshold_is_set_where_there_is_a_rule_for_it() {
    let mut config = json!({ "preset": "cafe-2023", "rules": [{ "expr": "n > 1" }] });
    assert_eq!(set_threshold(&mut config, "dino", Some(0.5), None), Ok(true));
    assert_eq!(
        config,
        json!({ "rules": [{ "column": "clip", "min": 0.3 }, { "column": "dino", "min": 0.5 }, { "expr": "n > 1" }] })
    );
    assert_eq!(set_threshold(&mut config, "n", Some(0.5), None), Ok(false));
    let ran = run(config);
    assert_eq!(reasons(&ran)[1], "accepted");
}

/// A change here makes all users' verdicts stale: raise OUTPUT_VERSION, and write the new digest down.
#[test]
fn bytes_do_not_change_without_a_new_version() {
    let mut ran = run(json!({ "preset": "cafe-2023" }));
    let bytes = frame::to_parquet(ran.tables.get_mut("verdicts").unwrap(), &[]).unwrap();
    assert_eq!(
        (super::OUTPUT_VERSION, Digest::of(&bytes).to_hex().as_str()),
        (1, "5ad7bc7ede746e545c4e37c93ff276435dbcfa98eeb0978415fb2c039f89381f")
    );
}
