//! What is summed up: rows, yields, costs, orphans, and the text.

use super::super::render::to_text;
use super::super::report::Verdicts;
use super::*;
use crate::catalog::LedgerEntry;
use crate::stage::Cost;

fn attempt(node: &str, outcome: &str, wall_ms: u64, device_ms: u64) -> LedgerEntry {
    LedgerEntry {
        attempt_id: 1,
        shard_id: 1,
        node: node.to_owned(),
        shard_index: 0,
        run: 1,
        worker: 1,
        outcome: outcome.to_owned(),
        started_ms: 0,
        wall_ms,
        cost: Cost { device_ms, ..Cost::default() },
        n_done: 0,
        backend: None,
        message: None,
    }
}

#[test]
fn rows_and_yields() {
    let report = Made::new().audit(false);
    let scan = &report.nodes[0];
    assert_eq!((scan.n_in, scan.n_done, scan.n_quarantined, scan.n_duplicate, scan.n_out), (7, 5, 1, 1, 5));
    assert_eq!(scan.quarantined, BTreeMap::from([("corrupt".to_owned(), 1)]));
    let rejected = BTreeMap::from([("sharp".to_owned(), 2)]);
    assert_eq!(report.nodes[2].verdicts, Some(Verdicts { n_accepted: 3, rejected }));
    assert_eq!(report.n_accepted, Some(3));
    assert_eq!(Made::new().audit(true).nodes, report.nodes);
}

#[test]
fn rows_still_to_be_made_are_counted_where_they_are_known() {
    let mut made = Made::new();
    for (node, state) in
        [("scan", ShardState::Pending), ("measure", ShardState::Failed), ("filter", ShardState::Running)]
    {
        let shard = made.shard(node, 1);
        (shard.state, shard.files, shard.rows) = (state, Vec::new(), RowCounts::default());
    }
    let report = made.audit(true);
    assert!(report.balances(), "{:?}", report.problems);
    let [scan, measure, filter] = &report.nodes[..] else { panic!("three nodes") };
    assert_eq!((scan.n_in, scan.n_pending, scan.n_pending_shards, scan.n_unknown_shards), (7, 3, 1, 0));
    assert_eq!((measure.n_in, measure.n_pending, measure.n_failed_shards, measure.n_unknown_shards), (3, 0, 1, 1));
    assert_eq!((filter.n_pending_shards, filter.n_unknown_shards), (1, 1));
    for node in &report.nodes {
        assert_eq!(node.n_in, node.n_done + node.n_quarantined + node.n_duplicate + node.n_pending);
    }
}

#[test]
fn costs_are_summed_by_stage_and_lost_ones_shown() {
    let made = Made::new();
    let mut facts = made.facts(false);
    facts.ledger = vec![
        attempt("measure", "committed", 4000, 3000),
        attempt("measure", "lost", 1000, 600),
        attempt("measure", "running", 500, 0),
        attempt("gone", "committed", 70, 0),
    ];
    let report = judge(&facts);
    let names: Vec<&str> = report.stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(names, ["scan", "measure", "filter", "(not in the plan any more)"]);
    let measure = &report.stages[1];
    assert_eq!((measure.n_attempts, measure.n_lost, measure.wall_ms, measure.lost_wall_ms), (3, 1, 5500, 1000));
    assert_eq!((measure.device_ms, measure.lost_device_ms), (3600, 600));
    assert_eq!(measure.device_secs_per_accepted, Some(1.2));
    assert_eq!(report.stages[0].wall_secs_per_accepted, Some(0.0));
}

#[test]
fn files_that_nothing_points_at_are_told_and_no_fault() {
    let made = Made::new();
    for path in
        ["shards/scan/references-00000.9.parquet", "journal/x/y.1", "releases/a/release.json", "listings/l.parquet.tmp"]
    {
        made.storage.write(path, b"12345").unwrap();
    }
    let report = made.audit(true);
    assert!(report.balances());
    assert_eq!((report.orphans.n_files, report.orphans.n_bytes), (2, 10));
    assert_eq!(report.orphans.examples, ["listings/l.parquet.tmp", "shards/scan/references-00000.9.parquet"]);
}

#[test]
fn the_report_reads_well() {
    let mut made = Made::new();
    std::fs::remove_file(made.path("measure", 0)).unwrap();
    made.shard("filter", 1).rows.n_duplicate = 1;
    let mut facts = made.facts(false);
    facts.ledger = vec![attempt("measure", "committed", 4000, 3000), attempt("measure", "lost", 1000, 600)];
    facts.notes.push("the manifest was changed since the last run: `filter`".to_owned());
    let report = judge(&facts);
    // Sizes are the encoder's business.
    insta::with_settings!({filters => vec![(r"\d\.\d KB", "9.9 KB")]}, {
        insta::assert_snapshot!(to_text(&report));
    });
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["balances"], false);
    assert_eq!(json["problems"][0]["kind"], "unbalanced");
}

#[test]
fn a_thousand_shards_are_judged_at_once() {
    let made = Made::new();
    let mut facts = made.facts(true);
    let template = facts.shards.iter().find(|shard| shard.key.node == "measure").cloned().unwrap();
    facts.shards.retain(|shard| shard.key.node == "scan");
    for index in 0..100_000 {
        let mut shard = template.clone();
        (shard.shard_id, shard.key.shard_index) = (1000 + index, index);
        facts.shards.push(shard);
    }
    let start = std::time::Instant::now();
    let report = judge(&facts);
    assert_eq!(report.nodes[1].n_committed, 100_000);
    assert!(start.elapsed().as_secs() < 20, "judging must not grow with the square of the shards");
}
