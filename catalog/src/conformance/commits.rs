//! Commits: all or nothing, once, and what follows for the shards that read.

use cafe_pipeline::catalog::{
    Commit, CommitOutcome, Effect, QuadrupletRow, QuarantineRow, ReleaseRecord, RowCounts, ShardState,
};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{ErrorClass, Mapping};
use serde_json::json;

use super::Place;
use super::project::{batch, chain, commit, edge, indexes, ok, open, rows, start, states, statuses};

/// A reader gets the files of the tables that it reads, and no others.
pub async fn inputs_are_the_tables_read(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let scans = hands.claim(&["scan"], 2).await;
    hands.commit(&scans[0], "x").await;
    hands.commit(&scans[1], "x").await;
    let score = hands.claim_one("score").await;
    let [input] = score.inputs.as_slice() else { unreachable!("one table of one shard: {:?}", score.inputs) };
    let file = &commit(&scans[0], "x").files[0];
    assert_eq!((input.shard_id, input.node.as_str(), input.shard_index), (scans[0].shard_id, "scan", 0));
    assert_eq!((&input.table, &input.path, &input.digest), (&file.table, &file.path, &file.digest));
    assert_eq!((input.n_bytes, input.n_rows), (file.n_bytes, file.n_rows));
}

/// A lease is good for one commit.
pub async fn a_second_commit_is_lost(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let item = hands.claim_one("scan").await;
    hands.commit(&item, "x").await;
    assert_eq!(ok(catalog.commit(&commit(&item, "y")).await), CommitOutcome::LeaseLost);
    assert_eq!(statuses(&catalog, "scan").await[0].files, commit(&item, "x").files);
}

fn release(id: &str, content: &str) -> ReleaseRecord {
    ReleaseRecord {
        release_id: id.to_owned(),
        name: "cafe".to_owned(),
        path: format!("releases/{id}"),
        digest: Digest::of(content.as_bytes()),
        n_rows: 2,
        summary: json!({ "n_rows": 2 }),
    }
}

fn quadruplet(id: &str, release_id: &str) -> QuadrupletRow {
    QuadrupletRow {
        quadruplet_id: id.to_owned(),
        candidate_id: format!("candidate of {id}"),
        reference_id: "reference".to_owned(),
        round: 0,
        release_id: release_id.to_owned(),
    }
}

/// A commit whose effect cannot be applied leaves no trace; the lease is still held.
pub async fn a_failing_effect_changes_nothing(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(
        &catalog,
        "a",
        &batch([rows("publish", 2, 0, "1"), rows("after", 2, 1, "1")], [edge("publish", "after", Mapping::Same)]),
    )
    .await;
    let items = hands.claim(&["publish"], 2).await;
    let mut first = commit(&items[0], "x");
    first.effects = vec![Effect::Release(release("cafe-1", "one"))];
    assert_eq!(ok(catalog.commit(&first).await), CommitOutcome::Committed);
    let before = (ok(catalog.shards(None).await), ok(catalog.releases().await));
    let mut second = commit(&items[1], "x");
    // The first effect can be applied, the second says that another release bears the same id.
    second.effects = vec![Effect::Release(release("cafe-2", "two")), Effect::Release(release("cafe-1", "other"))];
    assert!(catalog.commit(&second).await.is_err());
    second.effects = vec![Effect::Quadruplets(vec![quadruplet("q", "cafe-9")])];
    assert!(catalog.commit(&second).await.is_err(), "quadruplets of a release that is not there");
    assert_eq!((ok(catalog.shards(None).await), ok(catalog.releases().await)), before);
    assert_eq!(indexes(&hands.claim(&["after"], 10).await), [0]);
    assert_eq!(ok(catalog.ledger().await)[1].outcome, "running");
    second.effects = Vec::new();
    assert_eq!(ok(catalog.commit(&second).await), CommitOutcome::Committed);
}

/// Releases and their quadruplets appear with the shard, in the order of their making, and may be made again.
pub async fn releases_come_with_their_shard(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &batch([rows("publish", 2, 0, "1")], [])).await;
    for (item, id) in hands.claim(&["publish"], 2).await.iter().zip(["z-first", "a-second"]) {
        let mut commit = commit(item, "x");
        let units = vec![quadruplet("q1", id), quadruplet("q2", id)];
        // In either order.
        commit.effects = vec![Effect::Quadruplets(units), Effect::Release(release(id, id))];
        assert_eq!(ok(catalog.commit(&commit).await), CommitOutcome::Committed);
    }
    let both = [release("z-first", "z-first"), release("a-second", "a-second")];
    assert_eq!(ok(catalog.releases().await), both);
    ok(catalog.invalidate(statuses(&catalog, "publish").await[0].shard_id, "a file is gone").await);
    let mut again = commit(&hands.claim_one("publish").await, "x");
    again.effects = vec![
        Effect::Release(release("z-first", "z-first")),
        Effect::Quadruplets(vec![quadruplet("q1", "z-first"), quadruplet("q2", "z-first")]),
    ];
    assert_eq!(ok(catalog.commit(&again).await), CommitOutcome::Committed);
    assert_eq!(ok(catalog.releases().await), both);
    assert_eq!(ok(catalog.releases_with("q2").await), ["z-first", "a-second"]);
    assert!(ok(catalog.releases_with("q3").await).is_empty());
}

/// Numbers that contradict each other do not become part of the books.
pub async fn contradicting_counts_are_refused(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    let item = hands.claim_one("scan").await;
    let mut wrong = commit(&item, "x");
    wrong.counts.n_done = 9;
    assert!(catalog.commit(&wrong).await.is_err(), "a row is missing");
    wrong.counts = RowCounts { n_in: 10, n_done: 9, n_quarantined: 1, n_duplicate: 0 };
    assert!(catalog.commit(&wrong).await.is_err(), "the row in quarantine is not named");
    let row = QuarantineRow { row: 3, row_id: "r".to_owned(), class: ErrorClass::Corrupt, message: "bad".to_owned() };
    wrong.quarantine = vec![row.clone(), row];
    wrong.counts = RowCounts { n_in: 10, n_done: 8, n_quarantined: 2, n_duplicate: 0 };
    assert!(catalog.commit(&wrong).await.is_err(), "one row twice in quarantine");
    assert!(ok(catalog.quarantine().await).is_empty());
    assert_eq!(states(&catalog, "scan").await, [ShardState::Running]);
    hands.commit(&item, "x").await;
}

/// Commits that are made durable together fail one by one.
pub async fn a_failure_spoils_no_neighbour(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(40, "1")).await;
    let items = hands.claim(&["scan"], 40).await;
    let mut tasks = Vec::new();
    for item in items {
        let mut commit: Commit = commit(&item, "x");
        let is_wrong = item.key.shard_index % 2 == 1;
        if is_wrong {
            // Fails after the shard, its files and its attempt were written.
            commit.effects = vec![Effect::Quadruplets(vec![quadruplet("q", "no such release")])];
        }
        let catalog = catalog.clone();
        tasks.push(tokio::spawn(async move { catalog.commit(&commit).await.is_err() == is_wrong }));
    }
    for task in tasks {
        assert!(ok(task.await));
    }
    let states = states(&catalog, "scan").await;
    for pair in states.chunks(2) {
        assert_eq!(pair, [ShardState::Committed, ShardState::Running]);
    }
    assert_eq!(ok(catalog.files().await).len(), 40, "two files of each committed shard");
}

/// Lineage says what was read, with the digests of that time.
pub async fn lineage_keeps_the_digests_read(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    hands.make("scan", "x").await;
    hands.make("score", "x").await;
    hands.make("publish", "x").await;
    let scan = &statuses(&catalog, "scan").await[1];
    let score = &statuses(&catalog, "score").await[1];
    let publish = &statuses(&catalog, "publish").await[0];
    assert!(ok(catalog.lineage(scan.shard_id).await).is_empty());
    let read = ok(catalog.lineage(score.shard_id).await);
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].input_shard_id, read[0].node.as_str(), read[0].shard_index), (scan.shard_id, "scan", 1));
    let of_all = ok(catalog.lineage(publish.shard_id).await);
    assert_eq!(of_all.iter().map(|entry| entry.shard_index).collect::<Vec<_>>(), [0, 1]);
    assert_ne!(of_all[0].digest, of_all[1].digest);
    // Made again with other bytes, the reader's lineage stays until the reader is made again.
    ok(catalog.invalidate(scan.shard_id, "altered").await);
    hands.make("scan", "other").await;
    assert_eq!(ok(catalog.lineage(score.shard_id).await), read);
    hands.make("score", "x").await;
    assert_ne!(ok(catalog.lineage(score.shard_id).await), read);
}

/// A damaged shard is made again; pending readers wait for it, committed ones stay.
pub async fn damaged_shards_are_made_again(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    hands.make("scan", "x").await;
    let first = hands.claim_one("score").await;
    hands.commit(&first, "x").await;
    for shard in statuses(&catalog, "scan").await {
        ok(catalog.invalidate(shard.shard_id, "truncated").await);
        ok(catalog.invalidate(shard.shard_id, "twice said").await);
    }
    assert_eq!(states(&catalog, "scan").await, [ShardState::Pending; 2]);
    assert_eq!(states(&catalog, "score").await, [ShardState::Committed, ShardState::Pending]);
    assert!(hands.claim(&["score", "publish"], 10).await.is_empty());
    assert_eq!(statuses(&catalog, "scan").await[0].message.as_deref(), Some("truncated"));
    assert!(ok(catalog.files().await).iter().all(|file| file.node == "score"));
    assert_eq!(hands.make("scan", "x").await, 2);
    assert_eq!(indexes(&hands.claim(&["score"], 10).await), [1]);
}

/// Made again with the same bytes, a shard disturbs nobody.
pub async fn same_bytes_keep_the_readers(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    hands.make("scan", "x").await;
    let scores = hands.claim(&["score"], 2).await;
    hands.commit(&scores[0], "x").await;
    for shard in statuses(&catalog, "scan").await {
        ok(catalog.invalidate(shard.shard_id, "truncated").await);
    }
    assert_eq!(hands.make("scan", "x").await, 2);
    hands.commit(&scores[1], "x").await;
    assert_eq!(states(&catalog, "score").await, [ShardState::Committed; 2]);
    assert_eq!(hands.make("publish", "x").await, 1);
}

/// Made again with other bytes, a shard makes its readers pending, and these theirs once they differ too.
pub async fn other_bytes_outdate_the_readers(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    for node in ["scan", "score", "publish"] {
        hands.make(node, "x").await;
    }
    ok(catalog.invalidate(statuses(&catalog, "scan").await[1].shard_id, "altered").await);
    assert_eq!(hands.make("scan", "other").await, 1);
    assert_eq!(states(&catalog, "score").await, [ShardState::Committed, ShardState::Pending]);
    assert_eq!(states(&catalog, "publish").await, [ShardState::Committed], "its input may come out the same");
    assert_eq!(hands.make("score", "other").await, 1);
    assert_eq!(states(&catalog, "publish").await, [ShardState::Pending]);
    assert_eq!(hands.make("publish", "other").await, 1);
    assert!(hands.claim(&["scan", "score", "publish"], 10).await.is_empty());
}

/// What is being made from bytes that are no more loses its lease.
pub async fn other_bytes_take_running_readers_back(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    hands.make("scan", "x").await;
    let old = hands.claim_one("score").await;
    ok(catalog.invalidate(statuses(&catalog, "scan").await[0].shard_id, "altered").await);
    assert_eq!(hands.make("scan", "other").await, 1);
    assert_eq!(ok(catalog.commit(&commit(&old, "stale")).await), CommitOutcome::LeaseLost);
    let new = hands.claim_one("score").await;
    assert_ne!(new.inputs, old.inputs);
    assert_eq!(new.n_deaths, 0);
    hands.commit(&new, "x").await;
    assert_eq!(hands.make("publish", "x").await, 1);
}
