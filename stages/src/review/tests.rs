//! Sheets with mistakes, merges, and what a `review` node decides.

use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{CompileContext, WorkError};
use polars::prelude::*;

use super::compile::compile;
use super::{Merged, ReviewConfig, Sheet};
use crate::tables::{CANDIDATES, PAIRS, REVIEWS, VERDICTS};
use crate::testing::{Bench, Ran};

fn id(letter: char) -> String {
    letter.to_string().repeat(32)
}

fn mistakes(text: &str) -> Vec<String> {
    Sheet::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn all_mistakes_are_named_with_their_lines() {
    let (a, b) = (id('a'), id('b'));
    let text = format!(
        "candidate_id,verdict,reason,reviewer,secs\n{a},maybe,,,\nxyz,accept,,,soon\n{b},accept,,ann,1\n{b},REJECT,,ann,2\n\
         {a},accept\n{a},,,,\n{a},accept,,bob,-1\n"
    );
    let found = mistakes(&text);
    let lines: Vec<&str> = found.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["line 2", "line 3", "line 3", "line 5", "line 6", "line 8"], "{found:?}");
    assert!(found[0].contains("`maybe`") && found[3].contains("line 4"), "{found:?}");
    assert_eq!(mistakes("candidate_id,reason\n").len(), 1);
    assert_eq!(mistakes("a,b\n").len(), 2);
    assert_eq!(mistakes("candidate_id,verdict,verdict\n").len(), 1);
}

#[test]
fn a_sheet_is_written_as_it_is_read() {
    let (a, b) = (id('a'), id('b'));
    let text = format!(
        "candidate_id,verdict,reason,reviewer,secs\n{a},accept,,ann,2.5\n{a},reject,\"'=blurred, dark\",bob,\n{b},reject,,,\n"
    );
    let sheet = Sheet::parse(&format!("\u{feff}{text}")).unwrap();
    assert_eq!(sheet.to_csv(), text);
    assert_eq!(Sheet::parse("").unwrap(), Sheet::default());
    let more = format!("verdict,candidate_id,reviewer\nReject,{a},ann\nreject,{b},\naccept,{b},ann\n");
    let mut merged = sheet;
    let did = merged.merge(Sheet::parse(&more).unwrap());
    assert_eq!(did, Merged { n_new: 1, n_changed: 1 });
    assert_eq!(merged.ids().count(), 2);
}

/// Four candidates, the last of which a filter has rejected.
fn run(config: &str, sheet: &str) -> Result<Ran, WorkError> {
    let mut bench = Bench::new();
    let ids: Vec<String> = "abcd".chars().map(id).collect();
    bench.put(CANDIDATES, vec![df!("candidate_id" => &ids, "pair_id" => ["p"; 4]).unwrap()]);
    bench.put(PAIRS, vec![df!("pair_id" => ["p"], "reference_id" => ["r"]).unwrap()]);
    let verdicts = df!(
        "candidate_id" => &ids, "accepted" => [true, true, true, false],
        "reason" => [None, None, None, Some("dino >= 0.6")], "thresholds" => ["dino >= 0.6"; 4],
    );
    bench.put(VERDICTS, vec![verdicts.unwrap()]);
    std::fs::write(bench.dir.path().join("verdicts.csv"), sheet).unwrap();
    let config: ReviewConfig = toml::from_str(config).unwrap();
    let context = CompileContext::new(bench.dir.path(), Seed(7));
    bench.run(&compile(&config, &context).unwrap())
}

fn reasons(ran: &Ran) -> Vec<Option<String>> {
    let reasons = ran.tables[VERDICTS].column("reason").unwrap();
    reasons.str().unwrap().iter().map(|reason| reason.map(ToOwned::to_owned)).collect()
}

#[test]
fn reviewers_agree_as_the_manifest_says() {
    let (a, b, c, d) = (id('a'), id('b'), id('c'), id('d'));
    let sheet = format!(
        "candidate_id,verdict,reason,reviewer,secs\n{a},accept,,ann,1\n{a},reject,dark,bob,2\n{a},accept,,eve,\n\
         {b},accept,,ann,\n{b},reject,,bob,\n{c},accept,,ann,\n{d},accept,,ann,\n"
    );
    let by_filter = Some("dino >= 0.6".to_owned());
    let rejected = Some("rejected in review".to_owned());
    let ran = run("", &sheet).unwrap();
    assert_eq!(reasons(&ran), [None, rejected.clone(), None, by_filter.clone()], "a tie rejects");
    assert_eq!(ran.tables[REVIEWS].height(), 7);
    let secs = ran.tables[REVIEWS].column("secs").unwrap().f64().unwrap().sum();
    assert_eq!(secs, Some(3.0));
    let ran = run("agreement = \"all\"", &sheet).unwrap();
    assert_eq!(reasons(&ran), [Some("dark".to_owned()), rejected, None, by_filter.clone()]);
    let ran = run("agreement = \"any\"", &sheet).unwrap();
    assert_eq!(reasons(&ran), [None, None, None, by_filter]);
}

#[test]
fn what_nobody_reviewed_waits_unless_the_manifest_decides() {
    let sheet = format!("candidate_id,verdict\n{},accept\n", id('a'));
    let error = run("", &sheet).unwrap_err();
    assert!(matches!(error, WorkError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("2 candidates") && error.to_string().contains("review export"), "{error}");
    let accepted = |config| reasons(&run(config, &sheet).unwrap()).iter().filter(|reason| reason.is_none()).count();
    assert_eq!(accepted("unreviewed = \"accept\""), 3);
    assert_eq!(accepted("unreviewed = \"reject\""), 1);
}
