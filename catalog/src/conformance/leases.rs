//! Leases: who may make which shard, and what becomes of it when they do not.

use std::collections::BTreeSet;
use std::time::Duration;

use cafe_pipeline::catalog::{AttemptOutcome, CommitOutcome, ShardState};
use cafe_pipeline::stage::Mapping;

use super::Place;
use super::project::{
    LONG, batch, chain, commit, edge, indexes, join, ok, open, opening, rows, start, states, statuses,
};

/// Two processes that lease at the same time never get the same shard, and get all of them.
pub async fn two_processes_never_lease_the_same(place: &impl Place) {
    const N: i64 = 200;
    let catalog = open(place).await;
    let one = start(&catalog, "a", &chain(N, "1")).await;
    let two = join(&open(place).await, "a", LONG).await;
    let lease_all = async |hands: &super::project::Hands| {
        let mut mine = Vec::new();
        loop {
            let items = hands.claim(&["scan"], 3).await;
            if items.is_empty() {
                return mine;
            }
            mine.extend(items);
        }
    };
    let (first, second) = tokio::join!(lease_all(&one), lease_all(&two));
    assert_eq!(first.len() + second.len(), 200);
    let all: BTreeSet<i64> = first.iter().chain(&second).map(|item| item.shard_id).collect();
    assert_eq!(all.len(), 200);
    // Each is committed by the one who leased it, from both processes at once.
    let commit_all = async |hands: &super::project::Hands, items: &[cafe_pipeline::catalog::WorkItem]| {
        for item in items {
            hands.commit(item, "x").await;
        }
    };
    tokio::join!(commit_all(&one, &first), commit_all(&two, &second));
    assert_eq!(states(&catalog, "scan").await, [ShardState::Committed; 200]);
    two.catalog.close().await;
}

/// Rows flow to the end: deep nodes first, whatever the order asked in; nodes of one depth by index, then as asked.
pub async fn deeper_nodes_come_first(place: &impl Place) {
    let catalog = open(place).await;
    let nodes = [rows("left", 2, 0, "1"), rows("right", 2, 0, "1"), rows("deep", 2, 5, "1"), rows("mid", 1, 3, "1")];
    let hands = start(&catalog, "a", &batch(nodes, [])).await;
    let items = hands.claim(&["right", "mid", "deep", "left"], 6).await;
    let order: Vec<(&str, i64)> = items.iter().map(|item| (item.key.node.as_str(), item.key.shard_index)).collect();
    let wanted = [("deep", 0), ("deep", 1), ("mid", 0), ("right", 0), ("left", 0), ("right", 1)];
    assert_eq!(order, wanted);
}

/// Shard k waits for shard k and for no other.
pub async fn aligned_shards_wait_for_their_own(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(3, "1")).await;
    assert!(hands.claim(&["score"], 10).await.is_empty());
    let items = hands.claim(&["scan"], 3).await;
    hands.commit(&items[1], "x").await;
    assert_eq!(indexes(&hands.claim(&["score"], 10).await), [1]);
}

/// Many readers of all shards wait for every one of them, one of a node read in two ways included.
pub async fn broadcast_readers_wait_for_all(place: &impl Place) {
    let catalog = open(place).await;
    let mut both_ways = edge("scan", "score", Mapping::All);
    both_ways.tables = vec!["scan_notes".to_owned()];
    let edges = [both_ways, edge("scan", "score", Mapping::Same)];
    let hands = start(&catalog, "a", &batch([rows("scan", 3, 0, "1"), rows("score", 3, 1, "1")], edges)).await;
    for item in hands.claim(&["scan"], 3).await {
        assert!(hands.claim(&["score"], 10).await.is_empty());
        hands.commit(&item, "x").await;
    }
    let readers = hands.claim(&["score"], 10).await;
    assert_eq!(indexes(&readers), [0, 1, 2]);
    let read: Vec<(&str, u32)> =
        readers[1].inputs.iter().map(|input| (input.table.as_str(), input.shard_index)).collect();
    assert_eq!(read, [("scan_notes", 0), ("scan_notes", 1), ("scan_notes", 2), ("scan_rows", 1)]);
}

/// Nothing is leased of nodes not asked for, nor beyond the limit.
pub async fn only_wanted_nodes_are_leased(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &batch([rows("one", 5, 0, "1"), rows("two", 5, 1, "1")], [])).await;
    assert!(hands.claim(&[], 10).await.is_empty());
    assert!(hands.claim(&["one"], 0).await.is_empty());
    assert!(hands.claim(&["three"], 10).await.is_empty());
    assert_eq!(indexes(&hands.claim(&["one"], 3).await), [0, 1, 2]);
    assert_eq!(states(&catalog, "two").await, [ShardState::Pending; 5]);
}

/// Part i of n leases the shards with that remainder; opening items belong to part 0.
pub async fn parts_share_the_shards(place: &impl Place) {
    let catalog = open(place).await;
    let nodes = [rows("scan", 7, 0, "1"), vec![opening("dedup", 1, "1")]];
    let hands = start(&catalog, "a", &batch(nodes, [])).await;
    assert_eq!(indexes(&hands.claim_part(&["scan", "dedup"], 10, Some((1, 3))).await), [1, 4]);
    assert_eq!(indexes(&hands.claim_part(&["scan", "dedup"], 10, Some((2, 3))).await), [2, 5]);
    assert_eq!(indexes(&hands.claim_part(&["scan", "dedup"], 10, Some((0, 3))).await), [-1, 0, 3, 6]);
}

/// The fencing token: who lost the lease changes nothing, even after the shard was leased anew.
pub async fn an_old_token_commits_nothing(place: &impl Place) {
    let catalog = open(place).await;
    let first = start(&catalog, "a", &chain(1, "1")).await;
    let old = first.claim_one("scan").await;
    assert_eq!(ok(catalog.reap(&[first.worker]).await), 1);
    let second = join(&catalog, "a", LONG).await;
    let new = second.claim_one("scan").await;
    assert!(new.token > old.token, "the token grows");
    assert_eq!(ok(catalog.commit(&commit(&old, "stale")).await), CommitOutcome::LeaseLost);
    first.give_up(&old, AttemptOutcome::Failed).await;
    assert_eq!(states(&catalog, "scan").await, [ShardState::Running]);
    assert!(ok(catalog.files().await).is_empty());
    second.commit(&new, "x").await;
    let files = statuses(&catalog, "scan").await.remove(0).files;
    assert_eq!(files, commit(&new, "x").files);
}

/// A worker that was frozen past its lease finds out, and can do nothing any more.
pub async fn a_frozen_worker_changes_nothing(place: &impl Place) {
    let catalog = open(place).await;
    let awake = start(&catalog, "a", &chain(2, "1")).await;
    let frozen = join(&open(place).await, "a", 1).await;
    let item = frozen.claim_one("scan").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(ok(catalog.reap(&[]).await), 1);
    assert!(!ok(frozen.catalog.heartbeat(frozen.worker).await));
    assert_eq!(ok(frozen.catalog.commit(&commit(&item, "x")).await), CommitOutcome::LeaseLost);
    frozen.give_up(&item, AttemptOutcome::Shrink { micro_batch: 1 }).await;
    assert!(frozen.claim(&["scan"], 10).await.is_empty());
    let item = awake.claim_one("scan").await;
    assert_eq!((item.key.shard_index, item.n_deaths, item.micro_batch), (0, 1, None));
    frozen.catalog.close().await;
}

/// A worker that says nothing for its lease time is dead; one that does is not.
pub async fn silent_workers_are_reaped(place: &impl Place) {
    let catalog = open(place).await;
    let awake = start(&catalog, "a", &chain(3, "1")).await;
    let beating = join(&catalog, "a", 400).await;
    let silent = join(&catalog, "a", 400).await;
    beating.claim_one("scan").await;
    silent.claim_one("scan").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(ok(catalog.heartbeat(beating.worker).await));
    }
    assert_eq!(ok(catalog.reap(&[]).await), 1);
    assert_eq!(ok(catalog.reap(&[]).await), 0);
    assert_eq!(indexes(&awake.claim(&["scan"], 10).await), [1, 2]);
}

/// Workers known to have ended are dead at once, and each of their shards counts a death.
pub async fn gone_workers_are_reaped(place: &impl Place) {
    let catalog = open(place).await;
    let gone = start(&catalog, "a", &chain(3, "1")).await;
    let other = join(&catalog, "a", LONG).await;
    gone.claim(&["scan"], 2).await;
    other.claim_one("scan").await;
    assert_eq!(ok(catalog.reap(&[]).await), 0);
    assert_eq!(ok(catalog.reap(&[gone.worker, 999_999]).await), 2);
    assert!(!ok(catalog.heartbeat(gone.worker).await));
    let again = other.claim(&["scan"], 10).await;
    assert_eq!(again.iter().map(|item| item.n_deaths).collect::<Vec<_>>(), [1, 1]);
}

/// Who departs gives back what is left, without blame.
pub async fn departing_counts_no_deaths(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let old = hands.claim_one("scan").await;
    hands.depart().await;
    assert_eq!(ok(catalog.commit(&commit(&old, "x")).await), CommitOutcome::LeaseLost);
    assert!(!ok(catalog.heartbeat(hands.worker).await));
    let item = join(&catalog, "a", LONG).await.claim_one("scan").await;
    assert_eq!((item.n_tries, item.n_deaths), (0, 0));
}

/// A shard that is to be tried again is left alone for as long as was said.
pub async fn back_off_is_kept(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let item = hands.claim_one("scan").await;
    hands.give_up(&item, AttemptOutcome::Retry { after_ms: 300 }).await;
    assert_eq!(indexes(&hands.claim(&["scan"], 10).await), [1]);
    let progress = ok(catalog.progress().await);
    assert_eq!((progress[0].n_pending, progress[0].n_ready), (1, 1));
    assert!(matches!(progress[0].next_ready_ms, Some(1..=300)), "{:?}", progress[0].next_ready_ms);
    tokio::time::sleep(Duration::from_millis(320)).await;
    assert_eq!(ok(catalog.progress().await)[0].next_ready_ms, Some(0));
    assert_eq!(hands.claim_one("scan").await.n_tries, 1);
}

/// After the memory ran out, the shard is made with the smaller micro-batch, by whomever.
pub async fn shrinking_is_remembered(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let item = hands.claim_one("scan").await;
    hands.give_up(&item, AttemptOutcome::Shrink { micro_batch: 8 }).await;
    let item = hands.claim_one("scan").await;
    assert_eq!((item.micro_batch, item.n_tries, item.n_deaths), (Some(8), 0, 0));
    hands.give_up(&item, AttemptOutcome::Retry { after_ms: 0 }).await;
    assert_eq!(hands.claim_one("scan").await.micro_batch, Some(8));
}

/// A hang leads to isolation at once.
pub async fn hanging_counts_as_two_deaths(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    for n_deaths in [2, 3] {
        let item = hands.claim_one("scan").await;
        hands.give_up(&item, AttemptOutcome::Hung).await;
        let item = hands.claim_one("scan").await;
        assert_eq!(item.n_deaths, n_deaths);
        hands.give_up(&item, AttemptOutcome::Released).await;
    }
}

/// A shard given back undone is as if it had never been leased.
pub async fn released_shards_count_nothing(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let old = hands.claim_one("scan").await;
    hands.give_up(&old, AttemptOutcome::Released).await;
    let item = hands.claim_one("scan").await;
    assert_eq!((item.n_tries, item.n_deaths, item.micro_batch), (0, 0, None));
    // Giving up once more what is no longer held does nothing.
    hands.give_up(&old, AttemptOutcome::Failed).await;
    hands.commit(&item, "x").await;
}
