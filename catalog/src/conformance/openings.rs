//! Barriers: items that find the shards of their node when all that they read is there.

use cafe_pipeline::catalog::{
    CommitOutcome, ListingSlice, OPENING, ShardBatch, ShardRow, ShardState, SharedCatalog, WorkItem,
};
use cafe_pipeline::stage::Mapping;

use super::Place;
use super::project::{
    Hands, LONG, batch, commit, edge, indexes, join, key, ok, open, opening, plan, rows, start, states,
};

/// `scan` (2 shards) → `dedup`, a barrier → `score`, shard for shard.
fn closed() -> ShardBatch {
    batch([rows("scan", 2, 0, "1"), vec![opening("dedup", 1, "1")]], edges())
}

fn edges() -> [cafe_pipeline::catalog::NodeEdge; 2] {
    [edge("scan", "dedup", Mapping::Same), edge("dedup", "score", Mapping::Same)]
}

/// What the barrier finds: n shards of `dedup` and of `score`.
fn found(n: i64, version: &str) -> (Vec<ListingSlice>, ShardBatch) {
    let slices: Vec<ListingSlice> = (0..n).map(slice).collect();
    let cut = rows("dedup", n, 1, version).into_iter().zip(&slices);
    let cut = cut.map(|(row, slice)| ShardRow { slice: Some(slice.clone()), ..row }).collect();
    (slices, batch([cut, rows("score", n, 2, version)], edges()))
}

fn slice(index: i64) -> ListingSlice {
    super::project::slice("dedup/listing", 10 * index.unsigned_abs())
}

async fn commit_opening(hands: &Hands, item: &WorkItem, n: i64, version: &str) {
    let mut commit = commit(item, version);
    commit.opened = Some(found(n, version));
    assert_eq!(ok(hands.catalog.commit(&commit).await), CommitOutcome::Committed);
}

async fn open_barrier(catalog: &SharedCatalog, n: i64) -> Hands {
    let hands = start(catalog, "a", &closed()).await;
    hands.make("scan", "x").await;
    let item = hands.claim_one("dedup").await;
    commit_opening(&hands, &item, n, "1").await;
    hands
}

/// The opening item reads all shards upstream; its shards wait for it and read their slices.
pub async fn an_opening_waits_for_all_and_opens(place: &impl Place) {
    let catalog = open(place).await;
    let hands = start(&catalog, "a", &closed()).await;
    let scans = hands.claim(&["scan", "dedup"], 10).await;
    assert_eq!(scans.len(), 2, "the opening item is not ready");
    for item in &scans {
        assert!(hands.claim(&["dedup"], 1).await.is_empty());
        hands.commit(item, "x").await;
    }
    let item = hands.claim_one("dedup").await;
    assert_eq!(item.key.shard_index, OPENING);
    assert_eq!(item.inputs.iter().map(|input| input.shard_index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(ok(catalog.find_opening(&item.key).await), None);
    commit_opening(&hands, &item, 3, "1").await;
    assert_eq!(ok(catalog.find_opening(&item.key).await), Some(found(3, "1").0));
    let opened = hands.claim(&["dedup", "score"], 10).await;
    assert_eq!(indexes(&opened), [0, 1, 2]);
    assert_eq!(opened[1].slice, Some(slice(1)));
    assert!(opened[1].inputs.is_empty(), "along an edge that maps `same`, the listing says it all");
    hands.commit(&opened[1], "x").await;
    let score = hands.claim_one("score").await;
    assert_eq!((score.key.shard_index, score.inputs.len()), (1, 1));
}

/// A process that made its batch before another opened the barrier does not close it again.
pub async fn an_older_batch_retires_nothing_opened(place: &impl Place) {
    let catalog = open(place).await;
    let hands = open_barrier(&catalog, 2).await;
    hands.make("dedup", "x").await;
    let before = ok(catalog.shards(None).await);
    let applied = ok(catalog.apply_plan(&plan("a"), &closed()).await);
    assert_eq!((applied.n_committed, applied.n_pending, applied.n_retired), (5, 2, 0));
    assert_eq!(ok(catalog.shards(None).await), before);
    // A new plan does know better.
    hands.depart().await;
    let applied = ok(catalog.apply_plan(&plan("b"), &closed()).await);
    assert_eq!(applied.n_retired, 4);
}

/// A barrier that is opened again with another listing drops the shards that are no longer in it.
pub async fn a_remade_opening_retires_what_it_did_not_find(place: &impl Place) {
    let catalog = open(place).await;
    let hands = open_barrier(&catalog, 3).await;
    hands.make("dedup", "x").await;
    let opening = ok(catalog.shards(Some("dedup")).await);
    ok(catalog.invalidate(opening[0].shard_id, "the listing is gone").await);
    assert_eq!(ok(catalog.find_opening(&key("dedup", OPENING, "1")).await), None);
    let item = hands.claim_one("dedup").await;
    commit_opening(&hands, &item, 2, "2").await;
    assert_eq!(
        states(&catalog, "dedup").await,
        [ShardState::Committed, ShardState::Pending, ShardState::Pending],
        "the opening item and the two shards it found now"
    );
    assert_eq!(states(&catalog, "score").await.len(), 2);
    assert_eq!(states(&catalog, "scan").await, [ShardState::Committed; 2]);
    assert_eq!(hands.make("dedup", "x").await, 2);
    assert_eq!(hands.make("score", "x").await, 2);
}

/// A retired opening item still says what it found, so that a plan can come back without listing again.
pub async fn an_unused_opening_keeps_its_slices(place: &impl Place) {
    let catalog = open(place).await;
    open_barrier(&catalog, 2).await.depart().await;
    ok(catalog.apply_plan(&plan("b"), &batch([rows("scan", 1, 0, "2")], [])).await);
    let (slices, opened) = found(2, "1");
    assert_eq!(ok(catalog.find_opening(&key("dedup", OPENING, "1")).await), Some(slices));
    let mut whole = closed();
    whole.rows.extend(opened.rows);
    let applied = ok(catalog.apply_plan(&plan("a"), &whole).await);
    assert_eq!((applied.n_committed, applied.n_pending), (3, 4));
    let hands = join(&catalog, "a", LONG).await;
    assert_eq!(indexes(&hands.claim(&["dedup", "score"], 10).await), [0, 1]);
}

/// The shards of a barrier node read what its opening item read: they are not leased while an input is made again, and their node
/// is not said to be ready, or a worker would ask for it all the time.
pub async fn the_shards_of_a_barrier_wait_for_an_input_that_is_made_again(place: &impl Place) {
    let catalog = open(place).await;
    let hands = open_barrier(&catalog, 2).await;
    let ready = async || {
        let progress = ok(catalog.progress().await);
        let node = progress.iter().find(|node| node.node == "dedup");
        node.map(|node| (node.n_pending, node.n_ready, node.next_ready_ms))
    };
    assert_eq!(ready().await, Some((2, 2, Some(0))));
    let scan = ok(catalog.shards(Some("scan")).await);
    ok(catalog.invalidate(scan[1].shard_id, "damaged").await);
    assert_eq!(states(&catalog, "dedup").await[0], ShardState::Committed, "the opening item stays");
    assert!(hands.claim(&["dedup"], 10).await.is_empty());
    assert_eq!(ready().await, Some((2, 0, None)));
    assert_eq!(hands.make("scan", "x").await, 1);
    assert_eq!(indexes(&hands.claim(&["dedup"], 10).await), [0, 1]);
}
