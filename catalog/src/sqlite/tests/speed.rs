//! How fast it is. Run with `cargo test --release -- --ignored --nocapture speed`.

use std::sync::Arc;
use std::time::Instant;

use cafe_pipeline::catalog::{
    ClaimRequest, Commit, CommitOutcome, NodeEdge, PlanRecord, RowCounts, RunRecord, ShardBatch, ShardFile, ShardKey,
    ShardRow, SharedCatalog, WorkerRecord,
};
use cafe_pipeline::digest::{Digest, Fingerprint, Hasher};
use cafe_pipeline::stage::{Cost, Mapping};
use serde_json::json;

use super::folder;
use crate::conformance::Place;

fn fingerprint(node: &str, index: i64) -> Fingerprint {
    Hasher::new("speed").text("node", node).number("index", index.unsigned_abs()).fingerprint()
}

/// `scan` (n) → `score` (n), shard for shard → `publish`, one of all.
fn batch(n: i64) -> ShardBatch {
    let row = |node: &str, shard_index: i64, depth: u32| ShardRow {
        key: ShardKey { node: node.to_owned(), shard_index, fingerprint: fingerprint(node, shard_index) },
        depth,
        slice: None,
    };
    let edge = |from: &str, to: &str, mapping: Mapping| NodeEdge {
        from: from.to_owned(),
        to: to.to_owned(),
        tables: vec!["rows".to_owned()],
        mapping,
    };
    let rows = (0..n).flat_map(|index| [row("scan", index, 0), row("score", index, 1)]);
    ShardBatch {
        rows: rows.chain([row("publish", 0, 2)]).collect(),
        edges: vec![edge("scan", "score", Mapping::Same), edge("score", "publish", Mapping::All)],
    }
}

fn plan() -> PlanRecord {
    PlanRecord { fingerprint: fingerprint("plan", 0), manifest: String::new(), nodes: json!([]) }
}

async fn register(catalog: &SharedCatalog) -> i64 {
    let plan = plan().fingerprint;
    let run = RunRecord { plan, version: String::new(), command: Vec::new(), host: "host".to_owned() };
    let run = catalog.begin_run(&run).await.unwrap();
    let worker = WorkerRecord {
        host: "host".to_owned(),
        boot_id: "boot".to_owned(),
        pid: 1,
        pid_start: 1,
        plan,
        run,
        lease_ms: 600_000,
    };
    catalog.register_worker(&worker).await.unwrap()
}

/// Claims in chunks and commits one by one, as an executor of one work item at a time does. Returns how many.
async fn work(catalog: SharedCatalog, worker: i64, chunk: u32, limit: usize) -> usize {
    let mut n_done = 0;
    let request = ClaimRequest { worker, nodes: vec!["scan".into(), "score".into()], limit: chunk, part: None };
    while n_done < limit {
        let items = catalog.claim(&request).await.unwrap();
        if items.is_empty() {
            break;
        }
        for item in items {
            let path = format!("{}/{}.{}.parquet", item.key.node, item.key.shard_index, item.token);
            let digest = Digest::of(path.as_bytes());
            let commit = Commit {
                shard_id: item.shard_id,
                token: item.token,
                files: vec![ShardFile {
                    table: "rows".to_owned(),
                    path,
                    digest,
                    n_bytes: 1000,
                    n_rows: 1,
                    compacted: None,
                }],
                counts: RowCounts { n_in: 1, n_done: 1, ..RowCounts::default() },
                quarantine: Vec::new(),
                cost: Cost::default(),
                queued_ms: 0,
                wall_ms: 1,
                backend: "cpu".to_owned(),
                effects: Vec::new(),
                opened: None,
            };
            assert_eq!(catalog.commit(&commit).await.unwrap(), CommitOutcome::Committed);
            n_done += 1;
        }
    }
    n_done
}

fn say(what: &str, start: Instant) {
    tracing_free(&format!("{what}: {:.3} s", start.elapsed().as_secs_f64()));
}

fn tracing_free(line: &str) {
    eprintln!("{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, for a person to read"]
async fn plan_of_100_000_shards() {
    let folder = folder();
    let catalog = folder.open().await.unwrap();
    let batch = batch(50_000);
    let start = Instant::now();
    catalog.apply_plan(&plan(), &batch).await.unwrap();
    say("apply_plan of 100,001 shards, 100,000 edges", start);
    let start = Instant::now();
    catalog.apply_plan(&plan(), &batch).await.unwrap();
    say("the same once more", start);
    let worker = register(&catalog).await;
    let start = Instant::now();
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(work(catalog.clone(), worker, 8, usize::MAX))).collect();
    let mut n_done = 0;
    for task in tasks {
        n_done += task.await.unwrap();
    }
    tracing_free(&format!("64 at once: {:.0} commits/s", n_done as f64 / start.elapsed().as_secs_f64()));
    assert_eq!(n_done, 100_000);
    let keys: Vec<ShardKey> = batch.rows.iter().map(|row| row.key.clone()).collect();
    let start = Instant::now();
    let found = catalog.find_committed(&keys).await.unwrap();
    say("find_committed of 100,001 keys", start);
    assert_eq!(found.iter().flatten().count(), 100_000);
    let start = Instant::now();
    catalog.apply_plan(&plan(), &batch).await.unwrap();
    say("apply_plan when all is committed", start);
    let start = Instant::now();
    catalog.progress().await.unwrap();
    say("progress", start);
    let start = Instant::now();
    let request = ClaimRequest { worker, nodes: vec!["publish".into()], limit: 1, part: None };
    assert_eq!(catalog.claim(&request).await.unwrap()[0].inputs.len(), 50_000);
    say("claim of one reader of 50,000 shards", start);
    let start = Instant::now();
    let mut changed = batch.clone();
    for row in &mut changed.rows {
        row.key.fingerprint = fingerprint("changed", row.key.shard_index);
    }
    catalog.apply_plan(&plan(), &changed).await.unwrap();
    say("apply_plan of other 100,001 shards", start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, for a person to read"]
async fn pairs_per_second() {
    for (n_tasks, chunk) in [(1, 1), (1, 8), (4, 1), (4, 8), (16, 1), (16, 8), (64, 1)] {
        let folder = folder();
        let catalog = folder.open().await.unwrap();
        catalog.apply_plan(&plan(), &batch(10_000)).await.unwrap();
        let worker = register(&catalog).await;
        let start = Instant::now();
        let per_task = 4000 / n_tasks;
        let tasks: Vec<_> =
            (0..n_tasks).map(|_| tokio::spawn(work(Arc::clone(&catalog), worker, chunk, per_task))).collect();
        let mut n_done = 0;
        for task in tasks {
            n_done += task.await.unwrap();
        }
        let rate = n_done as f64 / start.elapsed().as_secs_f64();
        tracing_free(&format!("{n_tasks} at once, claims of {chunk}: {rate:.0} claimed and committed per second"));
    }
}
