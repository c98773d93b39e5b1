//! What the cases are made of: short ways to write plans, and a worker's hands.

use std::fmt::Debug;

use cafe_pipeline::catalog::{
    AttemptEnd, AttemptOutcome, ClaimRequest, Commit, CommitOutcome, ListingSlice, NodeEdge, OPENING, PlanRecord,
    RowCounts, RunId, RunRecord, ShardBatch, ShardFile, ShardKey, ShardRow, ShardState, ShardStatus, SharedCatalog,
    WorkItem, WorkerId, WorkerRecord,
};
use cafe_pipeline::digest::{Digest, Fingerprint, Hasher};
use cafe_pipeline::stage::{Cost, Mapping};
use serde_json::json;

use super::Place;

/// A lease that does not end during a test.
pub(super) const LONG: u64 = 600_000;

/// The value, or a panic that says which operation failed.
#[expect(clippy::panic, reason = "a case ends with a panic when the catalog does not conform")]
pub(super) fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the operation failed: {error:?}"),
    }
}

pub(super) async fn open(place: &impl Place) -> SharedCatalog {
    ok(place.open().await)
}

pub(super) fn fingerprint(text: &str) -> Fingerprint {
    Hasher::new("conformance").text("text", text).fingerprint()
}

/// The key of a shard whose fingerprint depends on `version`.
pub(super) fn key(node: &str, shard_index: i64, version: &str) -> ShardKey {
    ShardKey {
        node: node.to_owned(),
        shard_index,
        fingerprint: fingerprint(&format!("{node}/{shard_index}/{version}")),
    }
}

/// Shards 0 to n of a node.
pub(super) fn rows(node: &str, n: i64, depth: u32, version: &str) -> Vec<ShardRow> {
    (0..n).map(|index| ShardRow { key: key(node, index, version), depth, slice: None }).collect()
}

/// The opening item of a node.
pub(super) fn opening(node: &str, depth: u32, version: &str) -> ShardRow {
    ShardRow { key: key(node, OPENING, version), depth, slice: None }
}

pub(super) fn slice(path: &str, offset: u64) -> ListingSlice {
    ListingSlice { path: path.to_owned(), offset, n_rows: 10, digest: Digest::of(path.as_bytes()) }
}

/// `to` reads table `from_rows` of `from`.
pub(super) fn edge(from: &str, to: &str, mapping: Mapping) -> NodeEdge {
    NodeEdge { from: from.to_owned(), to: to.to_owned(), tables: vec![format!("{from}_rows")], mapping }
}

pub(super) fn batch(
    rows: impl IntoIterator<Item = Vec<ShardRow>>,
    edges: impl IntoIterator<Item = NodeEdge>,
) -> ShardBatch {
    ShardBatch { rows: rows.into_iter().flatten().collect(), edges: edges.into_iter().collect() }
}

/// `scan` (n shards) → `score`, shard for shard → `publish`, one shard of all.
pub(super) fn chain(n: i64, version: &str) -> ShardBatch {
    batch(
        [rows("scan", n, 0, version), rows("score", n, 1, version), rows("publish", 1, 2, version)],
        [edge("scan", "score", Mapping::Same), edge("score", "publish", Mapping::All)],
    )
}

pub(super) fn plan(name: &str) -> PlanRecord {
    PlanRecord { fingerprint: fingerprint(name), manifest: format!("# {name}"), nodes: json!({ "plan": name }) }
}

/// A worker process.
pub(super) struct Hands {
    pub(super) catalog: SharedCatalog,
    pub(super) run: RunId,
    pub(super) worker: WorkerId,
}

pub(super) fn worker_record(run: RunId, plan: &PlanRecord, lease_ms: u64) -> WorkerRecord {
    WorkerRecord {
        host: "host".to_owned(),
        boot_id: "boot".to_owned(),
        pid: 4_000_000_000,
        pid_start: u64::MAX,
        plan: plan.fingerprint,
        run,
        lease_ms,
    }
}

pub(super) fn run_record(plan: &PlanRecord) -> RunRecord {
    RunRecord {
        plan: plan.fingerprint,
        version: "0.0.0".to_owned(),
        command: vec!["cafe-data".to_owned(), "run".to_owned()],
        host: "host".to_owned(),
    }
}

/// Applies a plan and registers a worker of it.
pub(super) async fn start(catalog: &SharedCatalog, name: &str, batch: &ShardBatch) -> Hands {
    ok(catalog.apply_plan(&plan(name), batch).await);
    join(catalog, name, LONG).await
}

/// Registers a worker of the current plan.
pub(super) async fn join(catalog: &SharedCatalog, name: &str, lease_ms: u64) -> Hands {
    let plan = plan(name);
    let run = ok(catalog.begin_run(&run_record(&plan)).await);
    let worker = ok(catalog.register_worker(&worker_record(run, &plan, lease_ms)).await);
    Hands { catalog: catalog.clone(), run, worker }
}

impl Hands {
    pub(super) async fn claim(&self, nodes: &[&str], limit: u32) -> Vec<WorkItem> {
        self.claim_part(nodes, limit, None).await
    }

    pub(super) async fn claim_part(&self, nodes: &[&str], limit: u32, part: Option<(u32, u32)>) -> Vec<WorkItem> {
        let nodes = nodes.iter().map(ToString::to_string).collect();
        ok(self.catalog.claim(&ClaimRequest { worker: self.worker, nodes, limit, part }).await)
    }

    /// Claims the one shard that is ready of a node.
    pub(super) async fn claim_one(&self, node: &str) -> WorkItem {
        let mut items = self.claim(&[node], 1).await;
        assert_eq!(items.len(), 1, "a shard of {node} is ready");
        items.remove(0)
    }

    pub(super) async fn commit(&self, item: &WorkItem, content: &str) {
        assert_eq!(ok(self.catalog.commit(&commit(item, content)).await), CommitOutcome::Committed);
    }

    /// Commits all of a node that is ready; returns how many that were.
    pub(super) async fn make(&self, node: &str, content: &str) -> usize {
        let items = self.claim(&[node], 1000).await;
        for item in &items {
            self.commit(item, content).await;
        }
        items.len()
    }

    pub(super) async fn give_up(&self, item: &WorkItem, outcome: AttemptOutcome) {
        ok(self.catalog.give_up(&end(item, outcome)).await);
    }

    pub(super) async fn depart(&self) {
        ok(self.catalog.depart(self.worker).await);
    }
}

/// A commit of ten rows, two files; `content` decides the digests.
pub(super) fn commit(item: &WorkItem, content: &str) -> Commit {
    let node = &item.key.node;
    let file = |table: String, n_rows: u64| ShardFile {
        path: format!("{node}/{}.{}.{table}", item.key.shard_index, item.token),
        digest: Digest::of(format!("{content}/{table}/{}", item.key.shard_index).as_bytes()),
        n_bytes: 100,
        n_rows,
        table,
        compacted: None,
    };
    Commit {
        shard_id: item.shard_id,
        token: item.token,
        files: vec![file(format!("{node}_rows"), 8), file(format!("{node}_notes"), 1)],
        counts: RowCounts { n_in: 10, n_done: 10, n_quarantined: 0, n_duplicate: 0 },
        quarantine: Vec::new(),
        cost: Cost { device_ms: 7, prompt_tokens: 5, completion_tokens: 3, n_tries: 1 },
        queued_ms: 0,
        wall_ms: 20,
        backend: "cpu".to_owned(),
        effects: Vec::new(),
        opened: None,
    }
}

pub(super) fn end(item: &WorkItem, outcome: AttemptOutcome) -> AttemptEnd {
    AttemptEnd {
        shard_id: item.shard_id,
        token: item.token,
        outcome,
        message: "it did not work".to_owned(),
        queued_ms: 0,
        wall_ms: 11,
        cost: Cost { device_ms: 2, prompt_tokens: 0, completion_tokens: 0, n_tries: 1 },
    }
}

pub(super) fn indexes(items: &[WorkItem]) -> Vec<i64> {
    items.iter().map(|item| item.key.shard_index).collect()
}

/// The shards of a node in the current plan.
pub(super) async fn statuses(catalog: &SharedCatalog, node: &str) -> Vec<ShardStatus> {
    ok(catalog.shards(Some(node)).await)
}

pub(super) async fn states(catalog: &SharedCatalog, node: &str) -> Vec<ShardState> {
    statuses(catalog, node).await.iter().map(|shard| shard.state).collect()
}
