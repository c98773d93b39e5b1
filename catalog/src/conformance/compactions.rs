//! Compactions: a smaller file takes the place of a committed one, and nobody who read the shard is disturbed.

use cafe_pipeline::catalog::{Compacted, Compaction, ShardFile, ShardState, ShardStatus, shard_digest};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::Kept;

use super::Place;
use super::project::{Hands, LONG, chain, join, ok, open, plan, start, states, statuses};

/// Another file in place of the shard's first.
fn compaction(hands: &Hands, shard: &ShardStatus, kept: Kept) -> Compaction {
    let old_path = shard.files[0].path.clone();
    Compaction {
        worker: hands.worker,
        shard_id: shard.shard_id,
        path: format!("{old_path}.{}", kept.as_str()),
        old_path,
        digest: Digest::of(kept.as_str().as_bytes()),
        n_bytes: 40,
        kept,
    }
}

/// What the catalog says of the file afterwards; `made` is what was committed.
fn compacted(compaction: &Compaction, made: &ShardFile) -> ShardFile {
    ShardFile {
        path: compaction.path.clone(),
        digest: compaction.digest,
        n_bytes: compaction.n_bytes,
        compacted: Some(Compacted { kept: compaction.kept, digest: made.digest, n_bytes: made.n_bytes }),
        ..made.clone()
    }
}

/// Files, sizes and known paths are those of the new file; lineage, and what readers compare with it, are those of the old.
pub async fn to_its_readers_a_compacted_shard_is_what_it_was(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    hands.make("scan", "x").await;
    let before = statuses(&catalog, "scan").await;
    let score = hands.claim_one("score").await;
    hands.commit(&score, "x").await;
    let made = before[1].files[0].clone();
    // First with thumbnails, then without.
    for kept in [Kept::Thumbnail, Kept::Scores] {
        let shard = statuses(&catalog, "scan").await.remove(1);
        let compaction = compaction(&hands, &shard, kept);
        assert!(ok(catalog.compact(&compaction).await));
        let after = statuses(&catalog, "scan").await;
        assert_eq!(after[0], before[0]);
        assert_eq!(after[1].files, [compacted(&compaction, &made), before[1].files[1].clone()]);
        assert_eq!(shard_digest(&after[1].files), shard_digest(&before[1].files));
        assert_eq!((after[1].state, &after[1].key), (ShardState::Committed, &before[1].key));
        let known = ok(catalog.known_paths().await);
        assert!(known.contains(&compaction.path) && !known.contains(&compaction.old_path), "{known:?}");
        let file = ok(catalog.files().await).into_iter().find(|file| file.path == compaction.path);
        let file = file.map(|file| (file.is_whole(), file.digest, file.content, file.n_bytes, file.n_rows));
        assert_eq!(file, Some((false, compaction.digest, made.digest, 40, 8)));
    }
    // Two files of 100 bytes in each of two shards, one of them smaller now.
    assert_eq!(ok(catalog.progress().await)[0].n_bytes, 340);
    assert_eq!(states(&catalog, "score").await, [ShardState::Committed, ShardState::Pending]);
    // A reader that comes later is given the new file, and has the same lineage as if it had come before.
    let late = hands.claim_one("score").await;
    assert_eq!((late.inputs[0].content, late.inputs[0].is_whole()), (made.digest, false));
    hands.commit(&late, "x").await;
    assert_eq!(ok(catalog.lineage(late.shard_id).await)[0].digest, shard_digest(&before[1].files));
}

/// A shard with another file by now, or that is being made again, is left alone; so is any after the first of two that meet.
pub async fn what_has_changed_is_not_compacted(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(2, "1")).await;
    let other = join(&open(place).await, "a", LONG).await;
    hands.make("scan", "x").await;
    let shards = statuses(&catalog, "scan").await;
    let (mine, theirs) =
        (compaction(&hands, &shards[0], Kept::Scores), compaction(&other, &shards[0], Kept::Thumbnail));
    let (one, two) = tokio::join!(hands.catalog.compact(&mine), other.catalog.compact(&theirs));
    assert!(ok(one) != ok(two), "one of them was first, and the other must know");
    let late = compaction(&hands, &shards[1], Kept::Scores);
    ok(catalog.invalidate(shards[1].shard_id, "damaged").await);
    assert!(!ok(catalog.compact(&late).await), "it is pending");
    let item = hands.claim_one("scan").await;
    assert!(!ok(catalog.compact(&late).await), "it is running");
    hands.commit(&item, "x").await;
    let again = statuses(&catalog, "scan").await;
    assert!(!ok(catalog.compact(&late).await), "it has another file");
    assert_eq!(statuses(&catalog, "scan").await, again);
}

/// The files of a worker that is taken for dead may have been swept: the catalog must not turn to them.
pub async fn only_the_live_compact(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    hands.make("scan", "x").await;
    let shards = statuses(&catalog, "scan").await;
    let frozen = join(&catalog, "a", LONG).await;
    ok(catalog.reap(&[frozen.worker]).await);
    assert!(!ok(catalog.compact(&compaction(&frozen, &shards[0], Kept::Scores)).await));
    assert_eq!(statuses(&catalog, "scan").await, shards);
    assert!(ok(catalog.compact(&compaction(&hands, &shards[0], Kept::Scores)).await));
}

/// Whose pictures are needed again is made again like a damaged shard: with the same bytes it disturbs nobody, and is whole.
pub async fn a_compacted_shard_is_made_again_whole(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    for node in ["scan", "score", "publish"] {
        hands.make(node, "x").await;
    }
    let shard = statuses(&catalog, "scan").await.remove(0);
    assert!(ok(catalog.compact(&compaction(&hands, &shard, Kept::Scores)).await));
    ok(catalog.invalidate(shard.shard_id, "its pictures are needed").await);
    assert_eq!(hands.make("scan", "x").await, 1);
    let again = statuses(&catalog, "scan").await.remove(0);
    assert_eq!(again.files[0].compacted, None);
    assert_eq!(again.files[0].digest, shard.files[0].digest);
    for node in ["score", "publish"] {
        assert_eq!(states(&catalog, node).await, [ShardState::Committed], "{node} has the same input as before");
    }
}

/// A plan that is gone back to finds its shard as it was left.
pub async fn a_compacted_shard_comes_back_compacted(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &chain(1, "1")).await;
    for node in ["scan", "score"] {
        hands.make(node, "x").await;
    }
    let shard = statuses(&catalog, "scan").await.remove(0);
    assert!(ok(catalog.compact(&compaction(&hands, &shard, Kept::Scores)).await));
    let compacted = statuses(&catalog, "scan").await;
    hands.depart().await;
    ok(catalog.apply_plan(&plan("b"), &chain(1, "2")).await);
    ok(catalog.apply_plan(&plan("a"), &chain(1, "1")).await);
    assert_eq!(statuses(&catalog, "scan").await, compacted);
    assert_eq!(states(&catalog, "score").await, [ShardState::Committed]);
}
