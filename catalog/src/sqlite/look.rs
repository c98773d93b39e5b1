//! Looking: what there is, what was done, what it cost. Each question is one statement, so that each answer is of one
//! moment.

use cafe_pipeline::catalog::{
    Compacted, LedgerEntry, LineageEntry, NodeProgress, QuarantineEntry, QuarantineRow, Rate, Result, RowCounts,
    ShardFile, ShardKey, ShardState, ShardStatus,
};
use cafe_pipeline::stage::{Cost, InputShard};
use serde_json::Value;
use sqlx::SqlitePool;

use super::claim::InputRow;
use super::convert::{SliceColumns, digest, fingerprint, not_json, unsigned};
use super::error::from_sqlx;

#[derive(sqlx::FromRow)]
struct CountColumns {
    n_in: i64,
    n_done: i64,
    n_quarantined: i64,
    n_duplicate: i64,
}

impl CountColumns {
    fn counts(&self) -> Result<RowCounts> {
        Ok(RowCounts {
            n_in: unsigned(self.n_in)?,
            n_done: unsigned(self.n_done)?,
            n_quarantined: unsigned(self.n_quarantined)?,
            n_duplicate: unsigned(self.n_duplicate)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct CostColumns {
    device_ms: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    n_tries: i64,
}

impl CostColumns {
    fn cost(&self) -> Result<Cost> {
        Ok(Cost {
            device_ms: unsigned(self.device_ms)?,
            prompt_tokens: unsigned(self.prompt_tokens)?,
            completion_tokens: unsigned(self.completion_tokens)?,
            n_tries: unsigned(self.n_tries)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct ProgressRow {
    node: String,
    n_pending: i64,
    n_ready: i64,
    n_running: i64,
    n_committed: i64,
    n_failed: i64,
    #[sqlx(flatten)]
    counts: CountColumns,
    n_out: i64,
    n_bytes: i64,
    wall_ms: i64,
    #[sqlx(flatten)]
    cost: CostColumns,
    next_ready_ms: Option<i64>,
}

/// See `Catalog::progress`.
pub(super) async fn progress(readers: &SqlitePool) -> Result<Vec<NodeProgress>> {
    let rows: Vec<ProgressRow> =
        sqlx::query_as(include_str!("sql/progress.sql")).fetch_all(readers).await.map_err(from_sqlx)?;
    rows.into_iter()
        .map(|row| {
            Ok(NodeProgress {
                n_pending: unsigned(row.n_pending)?,
                n_ready: unsigned(row.n_ready)?,
                n_running: unsigned(row.n_running)?,
                n_committed: unsigned(row.n_committed)?,
                n_failed: unsigned(row.n_failed)?,
                rows: row.counts.counts()?,
                n_out: unsigned(row.n_out)?,
                n_bytes: unsigned(row.n_bytes)?,
                wall_ms: unsigned(row.wall_ms)?,
                cost: row.cost.cost()?,
                next_ready_ms: row.next_ready_ms.map(unsigned).transpose()?,
                node: row.node,
            })
        })
        .collect()
}

#[derive(sqlx::FromRow)]
struct ShardRow {
    shard_id: i64,
    node: String,
    shard_index: i64,
    fingerprint: String,
    state: String,
    backend: Option<String>,
    message: Option<String>,
    #[sqlx(flatten)]
    counts: CountColumns,
    #[sqlx(flatten)]
    slice: SliceColumns,
    table_name: Option<String>,
    path: Option<String>,
    file_digest: Option<String>,
    file_bytes: Option<i64>,
    file_rows: Option<i64>,
    kept: Option<String>,
    made_digest: Option<String>,
    made_bytes: Option<i64>,
}

impl ShardRow {
    fn file(&mut self) -> Result<Option<ShardFile>> {
        let compacted = self.compacted()?;
        match (self.table_name.take(), self.path.take(), &self.file_digest, self.file_bytes, self.file_rows) {
            (Some(table), Some(path), Some(hex), Some(n_bytes), Some(n_rows)) => Ok(Some(ShardFile {
                table,
                path,
                digest: digest(hex)?,
                n_bytes: unsigned(n_bytes)?,
                n_rows: unsigned(n_rows)?,
                compacted,
            })),
            _ => Ok(None),
        }
    }

    fn compacted(&self) -> Result<Option<Compacted>> {
        match (&self.kept, &self.made_digest, self.made_bytes) {
            (Some(kept), Some(hex), Some(n_bytes)) => Ok(Some(Compacted {
                kept: serde_json::from_value(Value::from(kept.as_str())).map_err(not_json)?,
                digest: digest(hex)?,
                n_bytes: unsigned(n_bytes)?,
            })),
            _ => Ok(None),
        }
    }
}

/// See `Catalog::shards`.
pub(super) async fn shards(readers: &SqlitePool, node: Option<&str>) -> Result<Vec<ShardStatus>> {
    let rows: Vec<ShardRow> =
        sqlx::query_as(include_str!("sql/shards.sql")).bind(node).fetch_all(readers).await.map_err(from_sqlx)?;
    let mut shards: Vec<ShardStatus> = Vec::new();
    for mut row in rows {
        let file = row.file()?;
        if let Some(last) = shards.last_mut().filter(|last| last.shard_id == row.shard_id) {
            last.files.extend(file);
            continue;
        }
        let state: ShardState = serde_json::from_value(Value::from(row.state)).map_err(not_json)?;
        shards.push(ShardStatus {
            shard_id: row.shard_id,
            key: ShardKey { node: row.node, shard_index: row.shard_index, fingerprint: fingerprint(&row.fingerprint)? },
            rows: row.counts.counts()?,
            files: file.into_iter().collect(),
            slice: row.slice.slice()?,
            backend: row.backend.filter(|_| state == ShardState::Committed),
            message: row.message,
            state,
        });
    }
    Ok(shards)
}

/// See `Catalog::files`.
pub(super) async fn files(readers: &SqlitePool) -> Result<Vec<InputShard>> {
    let rows: Vec<InputRow> =
        sqlx::query_as(include_str!("sql/files.sql")).fetch_all(readers).await.map_err(from_sqlx)?;
    rows.into_iter().map(InputRow::input).collect()
}

/// See `Catalog::known_paths`.
pub(super) async fn known_paths(readers: &SqlitePool) -> Result<Vec<String>> {
    sqlx::query_scalar(include_str!("sql/known_paths.sql")).fetch_all(readers).await.map_err(from_sqlx)
}

/// Node, index, and the row's number, id, class and message.
type QuarantineColumns = (String, i64, i64, String, String, String);

/// See `Catalog::quarantine`.
pub(super) async fn quarantine(readers: &SqlitePool) -> Result<Vec<QuarantineEntry>> {
    let rows: Vec<QuarantineColumns> = sqlx::query_as(
        "SELECT node, shard_index, row_number, row_id, class, quarantine.message
         FROM quarantine JOIN shards ON shards.shard_id = quarantine.shard_id
         WHERE state = 'committed' ORDER BY node, shard_index, row_number",
    )
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    entries(rows)
}

/// See `Catalog::quarantine_of`.
pub(super) async fn quarantine_of(readers: &SqlitePool, shards: &[ShardKey]) -> Result<Vec<QuarantineEntry>> {
    let wanted: Vec<_> = shards.iter().map(|key| (&key.node, key.shard_index, key.fingerprint)).collect();
    let rows: Vec<QuarantineColumns> = sqlx::query_as(include_str!("sql/quarantine_of.sql"))
        .bind(serde_json::to_string(&wanted).map_err(not_json)?)
        .fetch_all(readers)
        .await
        .map_err(from_sqlx)?;
    entries(rows)
}

fn entries(rows: Vec<QuarantineColumns>) -> Result<Vec<QuarantineEntry>> {
    rows.into_iter()
        .map(|(node, shard_index, row, row_id, class, message)| {
            let class = serde_json::from_value(Value::from(class)).map_err(not_json)?;
            let row = QuarantineRow { row: unsigned(row)?, row_id, class, message };
            Ok(QuarantineEntry { node, shard_index, row })
        })
        .collect()
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    attempt_id: i64,
    shard_id: i64,
    node: String,
    shard_index: i64,
    run_id: i64,
    worker_id: i64,
    outcome: String,
    started_ms: i64,
    wall_ms: i64,
    #[sqlx(flatten)]
    cost: CostColumns,
    n_done: i64,
    backend: Option<String>,
    message: Option<String>,
}

/// See `Catalog::ledger`.
pub(super) async fn ledger(readers: &SqlitePool) -> Result<Vec<LedgerEntry>> {
    let rows: Vec<AttemptRow> =
        sqlx::query_as(include_str!("sql/ledger.sql")).fetch_all(readers).await.map_err(from_sqlx)?;
    rows.into_iter()
        .map(|row| {
            Ok(LedgerEntry {
                attempt_id: row.attempt_id,
                shard_id: row.shard_id,
                node: row.node,
                shard_index: row.shard_index,
                run: row.run_id,
                worker: row.worker_id,
                outcome: row.outcome,
                started_ms: row.started_ms,
                wall_ms: unsigned(row.wall_ms)?,
                cost: row.cost.cost()?,
                n_done: unsigned(row.n_done)?,
                backend: row.backend,
                message: row.message,
            })
        })
        .collect()
}

/// See `Catalog::rates`.
pub(super) async fn rates(readers: &SqlitePool) -> Result<Vec<Rate>> {
    let rows: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT node, sum(attempts.n_in), sum(attempts.n_out), sum(attempts.n_bytes), sum(wall_ms), sum(device_ms)
         FROM attempts JOIN shards ON shards.shard_id = attempts.shard_id
         WHERE outcome = 'committed' GROUP BY node ORDER BY node",
    )
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|(node, n_in, n_out, n_bytes, wall_ms, device_ms)| {
            Ok(Rate {
                node,
                n_in: unsigned(n_in)?,
                n_out: unsigned(n_out)?,
                n_bytes: unsigned(n_bytes)?,
                wall_ms: unsigned(wall_ms)?,
                device_ms: unsigned(device_ms)?,
            })
        })
        .collect()
}

/// See `Catalog::lineage`.
pub(super) async fn lineage(readers: &SqlitePool, shard_id: i64) -> Result<Vec<LineageEntry>> {
    let rows: Vec<(i64, String, i64, String)> = sqlx::query_as(
        "SELECT input_shard_id, node, shard_index, input_digest
         FROM shard_inputs JOIN shards ON shards.shard_id = input_shard_id
         WHERE shard_inputs.shard_id = ?1 ORDER BY node, shard_index, input_shard_id",
    )
    .bind(shard_id)
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|(input_shard_id, node, shard_index, hex)| {
            Ok(LineageEntry { input_shard_id, node, shard_index, digest: digest(&hex)? })
        })
        .collect()
}
