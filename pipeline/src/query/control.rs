//! The catalog's own tables as frames.

use polars::prelude::*;

use super::error::{QueryError, tidy};
use crate::catalog::{Catalog, EventRecord, LedgerEntry, NodeProgress, QuarantineEntry, ReleaseRecord, ShardStatus};
use crate::stage::InputShard;

/// The catalog's tables, and what a row of each is.
pub const CONTROL_TABLES: &[(&str, &str)] = &[
    ("shards", "a shard of the current plan"),
    ("files", "a committed file of the current plan"),
    ("quarantine", "a row in quarantine"),
    ("ledger", "an attempt at a shard, of all plans"),
    ("releases", "a published version"),
    ("events", "something worth telling later"),
    ("progress", "a node of the current plan"),
];

/// Events are the only table without a bound of its own.
const MAX_EVENTS: u32 = 1_000_000;

/// Asks the catalog for one table.
pub(super) async fn gather(
    catalog: &dyn Catalog,
    known_files: &[InputShard],
    name: &'static str,
) -> Result<DataFrame, QueryError> {
    let rows = match name {
        "shards" => shards(&catalog.shards(None).await?),
        "files" => files(known_files),
        "quarantine" => quarantine(&catalog.quarantine().await?),
        "ledger" => ledger(&catalog.ledger().await?),
        "releases" => releases(&catalog.releases().await?),
        "events" => events(&catalog.events(MAX_EVENTS).await?),
        _ => progress(&catalog.progress().await?),
    };
    rows.map_err(|error| QueryError::Failed(tidy(&error)))
}

/// A frame with a row per record.
macro_rules! frame {
    ($rows:expr, $row:ident, { $($name:ident: $value:expr),+ $(,)? }) => {
        df!($(stringify!($name) => $rows.iter().map(|$row| $value).collect::<Vec<_>>()),+)
    };
}

fn shards(rows: &[ShardStatus]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        shard_id: row.shard_id,
        node: row.key.node.as_str(),
        shard_index: row.key.shard_index,
        state: row.state.as_str(),
        n_in: row.rows.n_in,
        n_done: row.rows.n_done,
        n_quarantined: row.rows.n_quarantined,
        n_duplicate: row.rows.n_duplicate,
        n_out: row.files.first().map(|file| file.n_rows),
        n_bytes: row.files.iter().map(|file| file.n_bytes).sum::<u64>(),
        backend: row.backend.as_deref(),
        message: row.message.as_deref(),
        fingerprint: row.key.fingerprint.to_hex(),
    })
}

fn files(rows: &[InputShard]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        shard_id: row.shard_id,
        node: row.node.as_str(),
        shard_index: row.shard_index,
        table: row.table.as_str(),
        path: row.path.as_str(),
        digest: row.digest.to_hex(),
        n_bytes: row.n_bytes,
        n_rows: row.n_rows,
    })
}

fn quarantine(rows: &[QuarantineEntry]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        node: row.node.as_str(),
        shard_index: row.shard_index,
        row: row.row.row,
        row_id: row.row.row_id.as_str(),
        class: row.row.class.as_str(),
        message: row.row.message.as_str(),
    })
}

fn ledger(rows: &[LedgerEntry]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        attempt_id: row.attempt_id,
        shard_id: row.shard_id,
        node: row.node.as_str(),
        shard_index: row.shard_index,
        run_id: row.run,
        worker_id: row.worker,
        outcome: row.outcome.as_str(),
        started_ms: row.started_ms,
        wall_ms: row.wall_ms,
        device_ms: row.cost.device_ms,
        prompt_tokens: row.cost.prompt_tokens,
        completion_tokens: row.cost.completion_tokens,
        n_tries: row.cost.n_tries,
        n_done: row.n_done,
        backend: row.backend.as_deref(),
        message: row.message.as_deref(),
    })
}

fn releases(rows: &[ReleaseRecord]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        release_id: row.release_id.as_str(),
        name: row.name.as_str(),
        path: row.path.as_str(),
        digest: row.digest.to_hex(),
        n_rows: row.n_rows,
        summary: row.summary.to_string(),
    })
}

fn events(rows: &[EventRecord]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        at_ms: row.at_ms,
        run_id: row.run,
        kind: row.kind.as_str(),
        detail: row.detail.to_string(),
    })
}

fn progress(rows: &[NodeProgress]) -> PolarsResult<DataFrame> {
    frame!(rows, row, {
        node: row.node.as_str(),
        n_pending: row.n_pending,
        n_running: row.n_running,
        n_committed: row.n_committed,
        n_failed: row.n_failed,
        n_in: row.rows.n_in,
        n_done: row.rows.n_done,
        n_quarantined: row.rows.n_quarantined,
        n_duplicate: row.rows.n_duplicate,
        n_out: row.n_out,
        n_bytes: row.n_bytes,
        wall_ms: row.wall_ms,
        device_ms: row.cost.device_ms,
        prompt_tokens: row.cost.prompt_tokens,
        completion_tokens: row.cost.completion_tokens,
    })
}
