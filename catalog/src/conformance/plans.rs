//! Plans: which shards there are, and which of them are made.

use cafe_pipeline::catalog::{
    Adoption, AttemptOutcome, CatalogError, CommitOutcome, CommittedCounts, PlanApplied, ShardState,
};
use cafe_pipeline::stage::Mapping;

use super::Place;
use super::project::{
    LONG, batch, chain, commit, edge, fingerprint, indexes, join, key, ok, open, plan, rows, run_record, start, states,
    statuses, worker_record,
};

/// Applying says what is to be made, and doing it twice changes nothing.
pub async fn counts_and_is_idempotent(place: &impl Place) {
    let catalog = open(place).await;
    let fresh = PlanApplied { n_committed: 0, n_pending: 7, n_retired: 0 };
    assert_eq!(ok(catalog.apply_plan(&plan("a"), &chain(3, "1")).await), fresh);
    let hands = join(&catalog, "a", LONG).await;
    assert_eq!(hands.make("scan", "x").await, 3);
    let leased = hands.claim_one("score").await;
    let before = ok(catalog.shards(None).await);
    let again = PlanApplied { n_committed: 3, n_pending: 4, n_retired: 0 };
    for _ in 0..2 {
        assert_eq!(ok(catalog.apply_plan(&plan("a"), &chain(3, "1")).await), again);
    }
    assert_eq!(ok(catalog.shards(None).await), before);
    // The running lease is not disturbed, and the counters still are right.
    hands.commit(&leased, "x").await;
    assert_eq!(hands.make("score", "x").await, 2);
    assert_eq!(hands.make("publish", "x").await, 1);
}

/// The current plan is the last one applied, with all that was written in it.
pub async fn the_last_plan_applied_is_current(place: &impl Place) {
    let catalog = open(place).await;
    assert_eq!(ok(catalog.current_plan().await), None);
    for name in ["a", "b", "a"] {
        ok(catalog.apply_plan(&plan(name), &chain(1, name)).await);
        assert_eq!(ok(catalog.current_plan().await), Some(plan(name)));
    }
}

/// Shards that another plan has no use for come back as they were.
pub async fn retired_shards_come_back(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(3, "1")).await;
    for item in hands.claim(&["scan"], 2).await {
        hands.commit(&item, "x").await;
    }
    hands.depart().await;
    let other = ok(catalog.apply_plan(&plan("b"), &chain(2, "2")).await);
    assert_eq!(other, PlanApplied { n_committed: 0, n_pending: 5, n_retired: 7 });
    assert_eq!(ok(catalog.shards(None).await).len(), 5);
    let back = ok(catalog.apply_plan(&plan("a"), &chain(3, "1")).await);
    assert_eq!(back, PlanApplied { n_committed: 2, n_pending: 5, n_retired: 5 });
    let scanned = statuses(&catalog, "scan").await;
    assert_eq!(scanned[0].files.len(), 2);
    assert_eq!(scanned[2].state, ShardState::Pending);
    // The readers of what came back committed are ready.
    let hands = join(&catalog, "a", LONG).await;
    assert_eq!(indexes(&hands.claim(&["score"], 10).await), [0, 1]);
}

/// A failed shard stays so until a plan is applied; then its tries are counted anew.
pub async fn failed_shards_are_tried_again(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let item = hands.claim_one("scan").await;
    hands.give_up(&item, AttemptOutcome::Retry { after_ms: 0 }).await;
    let item = hands.claim_one("scan").await;
    assert_eq!(item.n_tries, 1);
    hands.give_up(&item, AttemptOutcome::Failed).await;
    assert_eq!(states(&catalog, "scan").await, [ShardState::Failed]);
    assert!(hands.claim(&["scan"], 1).await.is_empty());
    let applied = ok(catalog.apply_plan(&plan("a"), &chain(1, "1")).await);
    assert_eq!(applied, PlanApplied { n_committed: 0, n_pending: 3, n_retired: 0 });
    assert_eq!(hands.claim_one("scan").await.n_tries, 0);
}

/// Committed shards are found in the order asked, retired ones included.
pub async fn committed_shards_are_found_in_the_order_asked(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(3, "1")).await;
    let items = hands.claim(&["scan"], 3).await;
    hands.commit(&items[0], "x").await;
    hands.commit(&items[2], "x").await;
    let keys =
        [key("scan", 2, "1"), key("scan", 1, "1"), key("scan", 0, "1"), key("scan", 0, "2"), key("none", 0, "1")];
    let made = Some(CommittedCounts { n_in: 10, n_out: 8 });
    let wanted = vec![made, None, made, None, None];
    assert_eq!(ok(catalog.find_committed(&keys).await), wanted);
    hands.depart().await;
    ok(catalog.apply_plan(&plan("b"), &chain(1, "2")).await);
    assert_eq!(ok(catalog.find_committed(&keys).await), wanted);
    assert_eq!(ok(catalog.find_committed(&[]).await), []);
}

/// Adoptions are kept in the order in which they were made.
pub async fn adoptions_are_kept_in_order(place: &impl Place) {
    let catalog = open(place).await;
    let adoption = |reason: &str| Adoption {
        node: "score".to_owned(),
        wanted: fingerprint("wanted"),
        taken: fingerprint(reason),
        reason: reason.to_owned(),
    };
    for reason in ["the same scorer, renamed", "a typo"] {
        ok(catalog.adopt(&adoption(reason)).await);
    }
    let all = ok(catalog.adoptions().await);
    assert_eq!(all, [adoption("the same scorer, renamed"), adoption("a typo")]);
}

/// Two plans are not run at once: the second waits until the workers of the first are gone.
pub async fn another_plan_waits_for_live_workers(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let refused = catalog.apply_plan(&plan("b"), &chain(1, "2")).await;
    assert!(
        matches!(&refused, Err(CatalogError::OtherPlanRunning { worker, pid: 4_000_000_000, host })
            if *worker == hands.worker && host == "host"),
        "{refused:?}"
    );
    assert_eq!(ok(catalog.current_plan().await), Some(plan("a")));
    assert_eq!(states(&catalog, "scan").await, [ShardState::Pending]);
    // A second worker of the same plan is welcome.
    let second = join(&catalog, "a", LONG).await;
    ok(catalog.reap(&[hands.worker]).await);
    second.depart().await;
    ok(catalog.apply_plan(&plan("b"), &chain(1, "2")).await);
    // One that was slow to register learns that its plan is no longer the current one.
    let run = ok(catalog.begin_run(&run_record(&plan("a"))).await);
    assert!(catalog.register_worker(&worker_record(run, &plan("a"), LONG)).await.is_err());
    let hands = join(&catalog, "b", LONG).await;
    let other = catalog.register_worker(&worker_record(run, &plan("a"), LONG)).await;
    assert!(matches!(other, Err(CatalogError::OtherPlanRunning { worker, .. }) if worker == hands.worker));
}

/// A shard does not come back as committed when what it was made from was made again with other bytes meanwhile.
pub async fn shards_with_altered_inputs_come_back_pending(place: &impl Place) {
    let catalog = open(place).await;
    let both = batch([rows("scan", 2, 0, "1"), rows("score", 2, 1, "1")], [edge("scan", "score", Mapping::Same)]);
    let scan_only = batch([rows("scan", 2, 0, "1")], []);
    let hands = start(&catalog, "a", &both).await;
    hands.make("scan", "x").await;
    hands.make("score", "x").await;
    hands.depart().await;
    let hands = start(&catalog, "b", &scan_only).await;
    let scanned = statuses(&catalog, "scan").await;
    ok(catalog.invalidate(scanned[1].shard_id, "truncated").await);
    assert_eq!(hands.make("scan", "other").await, 1);
    hands.depart().await;
    let applied = ok(catalog.apply_plan(&plan("a"), &both).await);
    assert_eq!(applied, PlanApplied { n_committed: 3, n_pending: 1, n_retired: 0 });
    assert_eq!(states(&catalog, "score").await, [ShardState::Committed, ShardState::Pending]);
}

/// A shard that is retired while it is made is not committed.
pub async fn a_retired_shard_loses_its_lease(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let items = hands.claim(&["scan"], 2).await;
    ok(catalog.apply_plan(&plan("a"), &chain(1, "1")).await);
    let lost = ok(catalog.commit(&commit(&items[1], "x")).await);
    assert_eq!(lost, CommitOutcome::LeaseLost);
    hands.commit(&items[0], "x").await;
    assert_eq!(ok(catalog.ledger().await)[1].outcome, "released");
}

/// What was committed is there for whoever opens the catalog next.
pub async fn reopening_shows_what_was_written(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    hands.make("scan", "x").await;
    let shards = ok(catalog.shards(None).await);
    catalog.close().await;
    assert!(catalog.depart(hands.worker).await.is_err(), "a closed catalog writes nothing");
    let catalog = open(place).await;
    assert_eq!(ok(catalog.shards(None).await), shards);
    assert_eq!(ok(catalog.current_plan().await), Some(plan("a")));
}
