//! The stage, from its keys to its verdicts.

use std::path::Path;

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, ErrorClass, NodeDecl, StageDecl, StageKind, WorkError};
use polars::prelude::*;
use serde_json::{Value, json};

use super::{FilterKind, set_threshold};
use crate::tables;
use crate::testing::{Bench, Ran};

pub(super) fn compile(config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let context = CompileContext::new(Path::new("."), Seed(7));
    let stage = StageDecl { name: "filter".to_owned(), config };
    FilterKind.compile(&stage, &context).map(|mut nodes| nodes.remove(0))
}

/// Four candidates, scored by two scorers that do not agree on the order of rows.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.put(
        tables::CANDIDATES,
        vec![df!("candidate_id" => ["a", "b", "c", "d"], "alpha" => [0.1, 0.2, 0.3, 0.4]).unwrap()],
    );
    bench.put(
        tables::SCORES,
        vec![
            df!("candidate_id" => ["d", "c", "b", "a"], "clip" => [f32::NAN, 0.3, 0.29, 0.4]).unwrap(),
            df!("candidate_id" => ["a", "b", "c"], "dino" => [Some(0.5), Some(0.1), None], "sharpness" => [20_i64, 5, 30]).unwrap(),
            // Scores of other rows: no business of this filter.
            df!("reference_id" => ["a"], "clip" => [9.0]).unwrap(),
        ],
    );
    bench
}

pub(super) fn reasons(ran: &Ran) -> Vec<Option<String>> {
    let verdicts = &ran.tables[tables::VERDICTS];
    let accepted = verdicts.column("accepted").unwrap().bool().unwrap();
    let reasons = verdicts.column("reason").unwrap().str().unwrap();
    for (accepted, reason) in accepted.iter().zip(reasons.iter()) {
        assert_eq!(accepted, Some(reason.is_none()));
    }
    reasons.iter().map(|reason| reason.map(ToOwned::to_owned)).collect()
}

fn judge(config: Value) -> Vec<String> {
    let ran = bench().run(&compile(config).unwrap()).unwrap();
    assert_eq!(ran.quarantined, []);
    reasons(&ran).into_iter().map(|reason| reason.unwrap_or_default()).collect()
}

#[test]
fn each_kind_of_rule_judges() {
    assert_eq!(judge(json!({"rules": [{"column": "clip", "min": 0.3}]})), ["", "clip >= 0.3", "", "clip is missing"]);
    assert_eq!(judge(json!({"rules": [{"column": "clip", "max": 0.3}]})), ["clip <= 0.3", "", "", "clip is missing"]);
    assert_eq!(
        judge(json!({"rules": [{"column": "sharpness", "min": 6, "max": 25}]})),
        ["", "sharpness >= 6", "sharpness <= 25", "sharpness is missing"]
    );
    assert_eq!(
        judge(json!({"rules": [{"expr": "sharpness > 10 AND clip < 0.35"}]})),
        ["sharpness > 10 AND clip < 0.35", "sharpness > 10 AND clip < 0.35", "", "clip is missing"]
    );
    assert_eq!(
        judge(json!({"rules": [{"expr": "sharpness IS NULL OR ABS(sharpness) IN (5, 20)", "name": "odd"}]})),
        ["", "", "odd: sharpness IS NULL OR ABS(sharpness) IN (5, 20)", ""]
    );
    assert_eq!(
        judge(json!({"rules": [{"expr": "CASE WHEN clip > 0.35 THEN sharpness >= 20 ELSE NOT sharpness < 10 END"}]}))
            [..2],
        ["".to_owned(), "CASE WHEN clip > 0.35 THEN sharpness >= 20 ELSE NOT sharpness < 10 END".to_owned()]
    );
}

#[test]
fn zero_by_zero_is_missing() {
    let mut bench = Bench::new();
    bench.put(tables::CANDIDATES, vec![df!("candidate_id" => ["a", "b", "c", "d"]).unwrap()]);
    let scores = df!("candidate_id" => ["a", "b", "c", "d"], "x" => [0.0, 8.0, 1.0, 2.0], "y" => [0.0, 2.0, 0.0, 1.0], "n" => [3, 1, 3, 3]);
    bench.put(tables::SCORES, vec![scores.unwrap()]);
    let judged = |expr: &str| {
        let ran = bench.run(&compile(json!({"rules": [{ "expr": expr }]})).unwrap()).unwrap();
        reasons(&ran).into_iter().map(|reason| reason.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(judged("x / y > 3"), ["a value of `x / y > 3` is missing", "", "", "x / y > 3"]);
    // No quotient is needed to see that it fails.
    assert_eq!(judged("x / y > 3 AND n + 1 < 4")[0], "x / y > 3 AND n + 1 < 4");
    assert_eq!(judged("NOT x / y <= 3"), ["a value of `NOT x / y <= 3` is missing", "", "", "NOT x / y <= 3"]);
}

#[test]
fn the_first_failing_rule_is_the_reason() {
    let rules = json!([{"column": "dino", "min": 0.6}, {"column": "clip", "min": 0.3}]);
    assert_eq!(judge(json!({ "rules": rules })), ["dino >= 0.6", "dino >= 0.6", "dino is missing", "dino is missing"]);
    let rules = json!([{"column": "clip", "min": 0.3}, {"column": "dino", "min": 0.6}]);
    assert_eq!(judge(json!({ "rules": rules })), ["dino >= 0.6", "clip >= 0.3", "dino is missing", "clip is missing"]);
}

#[test]
fn the_preset_is_its_rules() {
    let preset = compile(json!({"preset": "cafe-2023"})).unwrap();
    let rules = compile(json!({"rules": [{"column": "clip", "min": 0.3}, {"column": "dino", "min": 0.6}]})).unwrap();
    assert_eq!(preset.settings, rules.settings);
    assert_eq!(preset.reads[1].columns, ["clip", "dino"]);
    let ran = bench().run(&preset).unwrap();
    let thresholds = ran.tables[tables::VERDICTS].column("thresholds").unwrap();
    assert_eq!(thresholds.str().unwrap().get(3), Some("clip >= 0.3; dino >= 0.6"));
}

#[test]
fn missing_scores_can_be_errors() {
    let config = json!({"rules": [{"column": "clip", "min": 0.3}, {"column": "dino", "min": 0.2}], "missing": "error"});
    let ran = bench().run(&compile(config).unwrap()).unwrap();
    let rows: Vec<_> = ran.quarantined.iter().map(|row| (row.row, row.class, row.message.as_str())).collect();
    let message = |what: &str| {
        format!("{what} is missing for this row of candidates; `missing = \"reject\"` would reject it instead")
    };
    assert_eq!(
        rows,
        [(2, ErrorClass::Invalid, message("dino").as_str()), (3, ErrorClass::Invalid, message("clip").as_str())]
    );
    assert_eq!(reasons(&ran), [None, Some("clip >= 0.3".to_owned())]);
}

#[test]
fn pairs_and_references_have_their_own_ids() {
    let mut bench = Bench::new();
    bench.put(tables::PAIRS, vec![df!("pair_id" => ["p"]).unwrap()]);
    bench.put(tables::SCORES, vec![df!("pair_id" => ["p"], "n_words" => [4]).unwrap()]);
    let ran =
        bench.run(&compile(json!({"reads": "pairs", "rules": [{"column": "n_words", "min": 5}]})).unwrap()).unwrap();
    assert_eq!(reasons(&ran), [Some("n_words >= 5".to_owned())]);
    assert_eq!(ran.tables[tables::VERDICTS].get_column_names()[0], "pair_id");
}

#[test]
fn scores_that_no_rule_can_use_stop_the_stage() {
    let mut bench = Bench::new();
    bench.put(tables::CANDIDATES, vec![df!("candidate_id" => ["a"]).unwrap()]);
    bench.put(tables::SCORES, vec![df!("candidate_id" => ["a"], "clip" => ["high"]).unwrap()]);
    let stopped = |rule: Value| match bench.run(&compile(json!({"rules": [rule]})).unwrap()) {
        Err(WorkError::Systemic(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(stopped(json!({"column": "clip", "min": 0.3})).contains("`clip` has the type str"));
    assert!(stopped(json!({"expr": "clip > 0.3"})).starts_with("`clip > 0.3` cannot be evaluated on the scores"));
    assert!(stopped(json!({"column": "dino", "min": 0.3})).contains("no scorer of these rows writes `dino`"));
}

#[test]
fn two_scorers_of_one_column_stop_the_stage() {
    let mut bench = Bench::new();
    bench.put(tables::CANDIDATES, vec![df!("candidate_id" => ["a"]).unwrap()]);
    let scores = |clip: f64| df!("candidate_id" => ["a"], "clip" => [clip]).unwrap();
    bench.put(tables::SCORES, vec![scores(0.1), scores(0.2)]);
    let mut context = bench.context();
    context.inputs.get_mut(tables::SCORES).unwrap()[1].node = "other".to_owned();
    let rows = df!("candidate_id" => ["a"]).unwrap();
    let error = super::scores::join(&context, rows, "candidate_id", &["clip".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "score `clip` is written by both scores and other: rename the column of one of them");
}

#[test]
fn mistakes_are_named() {
    let cases = [
        (json!({}), "", "a filter without rules would accept everything"),
        (json!({"rules": [{}]}), "/rules/0", "a rule needs `column` or `expr`"),
        (json!({"rules": [{"column": "a", "expr": "a > 1"}]}), "/rules/0", "`column` or `expr`, not both"),
        (json!({"rules": [{"column": "a"}]}), "/rules/0", "the rule for `a` needs `min` or `max`"),
        (json!({"rules": [{"column": "a", "min": 2, "max": 1}]}), "/rules/0/min", "`min` (2) is above `max` (1)"),
        (json!({"rules": [{"column": " ", "min": 2}]}), "/rules/0/column", "is empty"),
        (json!({"rules": [{"column": "a", "min": 2, "name": "n"}]}), "/rules/0/name", "only an `expr`"),
        (json!({"rules": [{"column": "candidate_id", "min": 2}]}), "/rules/0/column", "is the rows' id"),
        (json!({"rules": [{"expr": "candidate_id = 'x'"}]}), "/rules/0/expr", "is the rows' id"),
        (json!({"rules": [{"expr": "a > 1", "min": 2}]}), "/rules/0", "belong to `column`"),
        (
            json!({"preset": "cafe-2023", "rules": [{"column": "clip", "min": 0.2}]}),
            "/rules/0/column",
            "a rule already",
        ),
        (json!({"rules": [{"expr": "a >"}]}), "/rules/0/expr", "`a >` does not parse"),
        (json!({"rules": [{"expr": ""}]}), "/rules/0/expr", "does not parse"),
        (json!({"rules": [{"expr": "1 > 0"}]}), "/rules/0/expr", "looks at no score"),
        (json!({"rules": [{"expr": "a + 1"}]}), "/rules/0/expr", "is no condition"),
        (json!({"rules": [{"expr": "a AND b > 1"}]}), "/rules/0/expr", "is no condition"),
        (json!({"rules": [{"expr": "a > AVG(a)"}]}), "/rules/0/expr", "is more than columns"),
        (json!({"rules": [{"expr": "ROW_NUMBER() OVER (ORDER BY a) > 1"}]}), "/rules/0/expr", ""),
        (json!({"rules": [{"expr": "a > (SELECT 1)"}]}), "/rules/0/expr", ""),
        (json!({"rules": [{"expr": "CAST(a AS INT) > 1"}]}), "/rules/0/expr", "is more than columns"),
        (json!({"rules": [{"expr": "COUNT(*) > 1"}]}), "/rules/0/expr", "is more than columns"),
        (json!({"rules": [{"expr": "* > 1"}]}), "/rules/0/expr", ""),
        (json!({"rules": [{"expr": "a > 1; DROP TABLE x"}]}), "/rules/0/expr", ""),
    ];
    for (config, pointer, message) in cases {
        let issues = compile(config.clone()).expect_err(&config.to_string());
        assert_eq!(issues.len(), 1, "{config}: {issues:?}");
        assert_eq!(issues[0].pointer, pointer, "{config}: {issues:?}");
        assert!(issues[0].message.contains(message), "{config}: {issues:?}");
    }
    let all = compile(json!({"rules": [{}, {"column": "a"}, {"expr": "a"}]})).unwrap_err();
    assert_eq!(all.len(), 3, "all mistakes at once");
}

#[test]
fn thresholds_can_be_set() {
    let mut config = json!({"preset": "cafe-2023", "rules": [{"expr": "sharpness > 1"}]});
    assert_eq!(set_threshold(&mut config, "sharpness", Some(2.0), None), Ok(false));
    assert_eq!(set_threshold(&mut config, "clip", Some(0.3), None), Ok(true));
    assert_eq!(config["preset"], "cafe-2023", "nothing changed, nothing written out");
    assert_eq!(set_threshold(&mut config, "dino", Some(0.7), None), Ok(true));
    assert_eq!(set_threshold(&mut config, "dino", None, Some(0.9)), Ok(true));
    assert_eq!(
        config,
        json!({"rules": [
            {"column": "clip", "min": 0.3}, {"column": "dino", "min": 0.7, "max": 0.9}, {"expr": "sharpness > 1"}
        ]})
    );
    let before = config.clone();
    assert!(set_threshold(&mut config, "dino", Some(0.95), None).unwrap_err().contains("no row could pass"));
    assert!(set_threshold(&mut config, "dino", Some(f64::NAN), None).is_err());
    assert!(set_threshold(&mut json!({"rules": 3}), "dino", None, None).is_err());
    assert!(set_threshold(&mut json!([]), "dino", None, None).is_err());
    assert_eq!(config, before, "an error changes nothing");
    compile(config).unwrap();
}

/// When this fails, the same scores give other bytes: raise `OUTPUT_VERSION`, and then the digest here.
#[test]
fn output_is_golden() {
    let ran =
        bench().run(&compile(json!({"preset": "cafe-2023", "rules": [{"expr": "sharpness > 10"}]})).unwrap()).unwrap();
    let bytes = frame::to_parquet(&mut ran.tables[tables::VERDICTS].clone(), &[]).unwrap();
    assert_eq!(
        (super::compile::OUTPUT_VERSION, Digest::of(&bytes).to_hex().as_str()),
        (1, "2c121f8dc1423cff749b3923d9577d77f5b5b47d82a27eabbf99b92105875d77")
    );
}
