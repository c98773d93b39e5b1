//! The books: ledger, progress, quarantine, events, files.

use std::time::Duration;

use cafe_pipeline::catalog::{
    AttemptEnd, AttemptOutcome, Commit, CommitOutcome, EventRecord, QuarantineRow, Rate, RowCounts, RunEnd, ShardState,
    WorkItem,
};
use cafe_pipeline::stage::{Cost, ErrorClass};
use serde_json::json;

use super::Place;
use super::project::{
    LONG, batch, chain, commit, end, fingerprint, join, key, ok, open, plan, rows, slice, start, statuses,
};

/// Every attempt is in the ledger, with how it ended and what it cost.
pub async fn every_outcome_is_in_the_ledger(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let outcomes = [
        AttemptOutcome::Released,
        AttemptOutcome::Retry { after_ms: 0 },
        AttemptOutcome::Shrink { micro_batch: 4 },
        AttemptOutcome::Hung,
    ];
    for outcome in outcomes {
        let item = hands.claim_one("scan").await;
        hands.give_up(&item, outcome).await;
    }
    let item = hands.claim_one("scan").await;
    hands.commit(&item, "x").await;
    let failing = hands.claim_one("score").await;
    hands.give_up(&failing, AttemptOutcome::Failed).await;
    let ledger = ok(catalog.ledger().await);
    let outcomes: Vec<&str> = ledger.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["released", "retried", "shrunk", "hung", "committed", "failed"]);
    let given_up = end(&item, AttemptOutcome::Released);
    assert_eq!((ledger[1].wall_ms, ledger[1].cost), (given_up.wall_ms, given_up.cost));
    assert_eq!(ledger[1].message.as_deref(), Some("it did not work"));
    let committed = commit(&item, "x");
    assert_eq!((ledger[4].wall_ms, ledger[4].cost, ledger[4].n_done), (committed.wall_ms, committed.cost, 10));
    assert_eq!((ledger[4].backend.as_deref(), ledger[4].message.as_deref()), (Some("cpu"), None));
    assert!(ledger.iter().all(|entry| entry.run == hands.run && entry.worker == hands.worker));
    assert!(ledger.is_sorted_by_key(|entry| entry.attempt_id));
    let shards: Vec<i64> = ledger.iter().map(|entry| entry.shard_id).collect();
    assert_eq!(shards[..5], [item.shard_id; 5]);
    assert_eq!(shards[5], failing.shard_id);
    let score = &statuses(&catalog, "score").await[0];
    assert_eq!((score.state, score.message.as_deref()), (ShardState::Failed, Some("it did not work")));
    ok(catalog.end_run(hands.run, &RunEnd { outcome: "failed".to_owned(), exit_code: 4 }).await);
}

/// The ledger tells when work began, not when it was leased, however the attempt ended.
pub async fn the_ledger_tells_when_work_began(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let items = hands.claim(&["scan"], 2).await;
    let started = async || -> Vec<i64> {
        let ledger = ok(catalog.ledger().await);
        let of = |item: &WorkItem| ledger.iter().find(|entry| entry.shard_id == item.shard_id);
        items.iter().filter_map(|item| Some(of(item)?.started_ms)).collect()
    };
    let leased = started().await;
    let commit = Commit { queued_ms: 5_000, ..commit(&items[0], "x") };
    assert_eq!(ok(catalog.commit(&commit).await), CommitOutcome::Committed);
    ok(catalog.give_up(&AttemptEnd { queued_ms: 70, ..end(&items[1], AttemptOutcome::Released) }).await);
    assert_eq!(started().await, [leased[0] + 5_000, leased[1] + 70]);
}

/// A kill loses one beat of the books: the attempt costs up to its worker's last heartbeat.
pub async fn a_lost_attempt_costs_up_to_its_last_heartbeat(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    hands.claim_one("scan").await;
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert!(ok(catalog.heartbeat(hands.worker).await));
    let beaten = ok(catalog.ledger().await)[0].wall_ms;
    assert!(beaten >= 80, "{beaten}");
    assert_eq!(ok(catalog.progress().await)[0].wall_ms, beaten, "running attempts cost too");
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(ok(catalog.reap(&[hands.worker]).await), 1);
    let lost = ok(catalog.ledger().await).remove(0);
    assert_eq!((lost.outcome.as_str(), lost.wall_ms), ("lost", beaten));
    assert_eq!(ok(catalog.progress().await)[0].wall_ms, beaten);
}

/// What budgets and progress bars are fed with: rows of committed shards, costs of all attempts.
pub async fn progress_counts_rows_and_costs(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(4, "1")).await;
    let items = hands.claim(&["scan"], 3).await;
    hands.commit(&items[0], "x").await;
    hands.give_up(&items[1], AttemptOutcome::Failed).await;
    let progress = ok(catalog.progress().await);
    assert_eq!(progress.iter().map(|node| node.node.as_str()).collect::<Vec<_>>(), ["scan", "score", "publish"]);
    let scan = &progress[0];
    assert_eq!((scan.n_pending, scan.n_ready, scan.n_running, scan.n_committed, scan.n_failed), (1, 1, 1, 1, 1));
    assert_eq!(scan.rows, RowCounts { n_in: 10, n_done: 10, n_quarantined: 0, n_duplicate: 0 });
    assert_eq!((scan.n_out, scan.n_bytes, scan.wall_ms), (8, 200, 31));
    assert_eq!(scan.cost, Cost { device_ms: 9, prompt_tokens: 5, completion_tokens: 3, n_tries: 2 });
    assert_eq!(scan.next_ready_ms, Some(0));
    assert_eq!((progress[1].n_pending, progress[1].n_ready, progress[1].next_ready_ms), (4, 1, Some(0)));
    assert_eq!((progress[2].n_pending, progress[2].n_ready, progress[2].next_ready_ms), (1, 0, None));
}

/// Rates are of committed attempts, of all plans.
pub async fn rates_sum_committed_attempts(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let items = hands.claim(&["scan"], 2).await;
    hands.commit(&items[0], "x").await;
    hands.give_up(&items[1], AttemptOutcome::Released).await;
    hands.depart().await;
    let hands = start(&catalog, "b", &chain(1, "2")).await;
    hands.make("scan", "x").await;
    let rate = Rate { node: "scan".to_owned(), n_in: 20, n_out: 16, n_bytes: 400, wall_ms: 40, device_ms: 14 };
    assert_eq!(ok(catalog.rates().await), [rate]);
}

/// Rows in quarantine are listed with their place, as long as their shard is part of the plan.
pub async fn quarantine_is_of_the_current_plan(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let items = hands.claim(&["scan"], 2).await;
    let row = |row: u64, class: ErrorClass| QuarantineRow {
        row,
        row_id: format!("image {row} \"ü\""),
        class,
        message: "not an image; a PNG, JPEG, GIF, BMP or WebP was expected".to_owned(),
    };
    for item in items.iter().rev() {
        let mut commit = commit(item, "x");
        commit.quarantine = vec![row(7, ErrorClass::OutOfMemory), row(2, ErrorClass::Corrupt)];
        commit.counts = RowCounts { n_in: 10, n_done: 5, n_quarantined: 2, n_duplicate: 3 };
        assert_eq!(ok(catalog.commit(&commit).await), CommitOutcome::Committed);
    }
    let listed = ok(catalog.quarantine().await);
    let places: Vec<(i64, u64)> = listed.iter().map(|entry| (entry.shard_index, entry.row.row)).collect();
    assert_eq!(places, [(0, 2), (0, 7), (1, 2), (1, 7)]);
    assert_eq!((listed[0].node.as_str(), &listed[0].row), ("scan", &row(2, ErrorClass::Corrupt)));
    assert_eq!(ok(catalog.progress().await)[0].rows.n_quarantined, 4);
    // A shard made again is listed with what it has now.
    let first = &statuses(&catalog, "scan").await[0];
    assert_eq!(first.rows.n_duplicate, 3);
    ok(catalog.invalidate(first.shard_id, "damaged").await);
    assert_eq!(ok(catalog.quarantine().await).len(), 2);
    hands.make("scan", "x").await;
    assert_eq!(ok(catalog.quarantine().await).len(), 2);
    hands.depart().await;
    ok(catalog.apply_plan(&plan("b"), &chain(1, "2")).await);
    assert!(ok(catalog.quarantine().await).is_empty());
    // Who asks for shards by name is told of retired ones too: what a plan will find, before it is applied.
    let asked = [key("scan", 1, "1"), key("scan", 0, "2"), key("scan", 9, "1")];
    assert_eq!(ok(catalog.quarantine_of(&asked).await), listed[2..]);
    assert!(ok(catalog.quarantine_of(&[]).await).is_empty());
}

/// The last events are returned, oldest first, by the catalog's clock.
pub async fn events_are_kept_in_order(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let event =
        |n: u64| EventRecord { at_ms: -5, run: Some(hands.run), kind: "noted".to_owned(), detail: json!({ "n": n }) };
    ok(catalog.record_events(&[event(0), event(1)]).await);
    ok(catalog.record_events(&[event(2)]).await);
    let noted = ok(catalog.events(2).await);
    assert_eq!(noted.iter().map(|event| &event.detail["n"]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((noted[0].kind.as_str(), noted[0].run), ("noted", Some(hands.run)));
    assert!(noted[0].at_ms > 0 && noted.is_sorted_by_key(|event| event.at_ms));
    assert_eq!(ok(catalog.events(100).await).iter().filter(|event| event.kind == "noted").count(), 3);
}

/// Files of the plan are listed by table; what a sweep must keep includes retired shards and listings.
pub async fn retired_files_stay_known(place: &impl Place) {
    let catalog = open(place).await;
    let mut scan = rows("scan", 2, 0, "1");
    for (offset, row) in (0..).zip(&mut scan) {
        row.slice = Some(slice("listings/scan", offset));
    }
    let hands = start(&catalog, "a", &batch([scan], [])).await;
    let items = hands.claim(&["scan"], 2).await;
    assert_eq!(items[1].slice, Some(slice("listings/scan", 1)));
    for item in items.iter().rev() {
        hands.commit(item, "x").await;
    }
    let files = ok(catalog.files().await);
    let order: Vec<(&str, u32)> = files.iter().map(|file| (file.table.as_str(), file.shard_index)).collect();
    assert_eq!(order, [("scan_notes", 0), ("scan_notes", 1), ("scan_rows", 0), ("scan_rows", 1)]);
    let mut known: Vec<String> = files.into_iter().map(|file| file.path).collect();
    known.push("listings/scan".to_owned());
    known.sort();
    hands.depart().await;
    ok(catalog.apply_plan(&plan("b"), &chain(1, "2")).await);
    assert!(ok(catalog.files().await).is_empty());
    let mut still_known = ok(catalog.known_paths().await);
    still_known.sort();
    assert_eq!(still_known, known);
}

/// Workers are listed with what tells their processes apart, until they are dead or departed.
pub async fn workers_are_listed_while_they_live(place: &impl Place) {
    let catalog = open(place).await;
    let one = start(&catalog, "a", &chain(1, "1")).await;
    let two = join(&catalog, "a", LONG).await;
    let live = ok(catalog.workers().await);
    assert_eq!(live.iter().map(|worker| worker.worker_id).collect::<Vec<_>>(), [one.worker, two.worker]);
    let worker = &live[0];
    assert_eq!((worker.host.as_str(), worker.boot_id.as_str()), ("host", "boot"));
    assert_eq!((worker.pid, worker.pid_start, worker.plan), (4_000_000_000, u64::MAX, fingerprint("a")));
    assert_eq!(worker.lease_ms, LONG);
    assert!(worker.silent_ms < LONG);
    one.depart().await;
    ok(catalog.reap(&[two.worker]).await);
    assert!(ok(catalog.workers().await).is_empty());
}
