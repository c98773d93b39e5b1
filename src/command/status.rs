//! `status`: where the project stands.

use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use cafe_pipeline::catalog::{EventRecord, LiveWorker, NodeProgress, SharedCatalog};
use serde_json::json;

use crate::cli::StatusArgs;
use crate::failure::Failure;
use crate::format::{Align, bytes, count, duration, json, out, table};
use crate::{kinds, project};

/// The screen is cleared and written from the top.
const CLEAR: &str = "\x1b[2J\x1b[H";
const N_EVENTS: u32 = 8;

pub(super) async fn run(args: &StatusArgs) -> Result<u8, Failure> {
    // A manifest that is being edited may be wrong elsewhere: only its catalog is needed.
    let path = &args.manifest.manifest;
    let manifest = project::read(path, &kinds::registry())?;
    let catalog = cafe_catalog::open(&manifest.catalog.url, manifest.folder()).await?;
    project::must_have_run(&catalog, path).await?;
    loop {
        let now = Now::of(&catalog).await?;
        if args.json {
            json(&now.as_json())?;
        } else {
            let clear = if args.watch && stdout().is_terminal() { CLEAR } else { "" };
            out(&format!("{clear}{}", now.as_text()))?;
        }
        if !args.watch {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    catalog.close().await;
    Ok(0)
}

struct Now {
    nodes: Vec<NodeProgress>,
    workers: Vec<LiveWorker>,
    events: Vec<EventRecord>,
}

impl Now {
    async fn of(catalog: &SharedCatalog) -> Result<Self, Failure> {
        Ok(Self {
            nodes: catalog.progress().await?,
            workers: catalog.workers().await?,
            events: catalog.events(N_EVENTS).await?,
        })
    }

    fn as_json(&self) -> serde_json::Value {
        let workers: Vec<serde_json::Value> = self
            .workers
            .iter()
            .map(|worker| json!({ "worker": worker.worker_id, "host": worker.host, "pid": worker.pid, "silent_ms": worker.silent_ms }))
            .collect();
        json!({ "nodes": self.nodes, "workers": workers, "events": self.events })
    }

    fn as_text(&self) -> String {
        let headers = [
            ("stage", Align::Left),
            ("made", Align::Right),
            ("running", Align::Right),
            ("waiting", Align::Right),
            ("failed", Align::Right),
            ("rows in", Align::Right),
            ("out", Align::Right),
            ("duplicate", Align::Right),
            ("quarantined", Align::Right),
            ("size", Align::Right),
            ("work", Align::Right),
        ];
        let rows = self.nodes.iter().map(|node| {
            vec![
                node.node.clone(),
                count(node.n_committed),
                count(node.n_running),
                count(node.n_pending),
                count(node.n_failed),
                count(node.rows.n_in),
                count(node.n_out),
                count(node.rows.n_duplicate),
                count(node.rows.n_quarantined),
                bytes(node.n_bytes),
                duration(node.wall_ms),
            ]
        });
        let mut text = table(&headers, &rows.collect::<Vec<_>>());
        for worker in &self.workers {
            let silent = duration(worker.silent_ms);
            let _ = writeln!(
                text,
                "worker {}: process {} on {}, last heard of {silent} ago",
                worker.worker_id, worker.pid, worker.host
            );
        }
        for event in &self.events {
            let detail = event.detail.as_object().into_iter().flatten();
            let detail: Vec<String> = detail.map(|(key, value)| format!("{key}={value}")).collect();
            let _ = writeln!(text, "{} {}", event.kind, detail.join(" "));
        }
        text
    }
}
