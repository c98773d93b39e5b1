//! Worker processes: who lives, and what becomes of the leases of those who do not.

use cafe_pipeline::catalog::{CatalogError, LiveWorker, Result, RunEnd, RunId, RunRecord, WorkerId, WorkerRecord};
use cafe_pipeline::digest::Fingerprint;
use sqlx::{SqliteConnection, SqlitePool};

use super::convert::{fingerprint, not_json, signed, small, unsigned};
use super::error::from_sqlx;

/// See `Catalog::begin_run`.
pub(super) async fn begin_run(connection: &mut SqliteConnection, run: &RunRecord) -> Result<RunId> {
    sqlx::query_scalar(
        "INSERT INTO runs (plan, version, command, host, started_ms)
         VALUES (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER)) RETURNING run_id",
    )
    .bind(run.plan.to_hex())
    .bind(&run.version)
    .bind(serde_json::to_string(&run.command).map_err(not_json)?)
    .bind(&run.host)
    .fetch_one(connection)
    .await
    .map_err(from_sqlx)
}

/// See `Catalog::end_run`.
pub(super) async fn end_run(connection: &mut SqliteConnection, run: &RunId, end: &RunEnd) -> Result<()> {
    sqlx::query(
        "UPDATE runs SET ended_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER), outcome = ?2, exit_code = ?3
         WHERE run_id = ?1",
    )
    .bind(run)
    .bind(&end.outcome)
    .bind(i64::from(end.exit_code))
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(from_sqlx)
}

/// See `Catalog::register_worker`.
pub(super) async fn register(connection: &mut SqliteConnection, worker: &WorkerRecord) -> Result<WorkerId> {
    reap(connection, &[]).await?;
    refuse_other_plan(connection, worker.plan).await?;
    let is_current: bool = sqlx::query_scalar(
        "SELECT coalesce((SELECT fingerprint FROM plans ORDER BY n_applied DESC LIMIT 1) = ?1, false)",
    )
    .bind(worker.plan.to_hex())
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    if !is_current {
        // Its shards would be those of the other plan, its work that of its own.
        return Err(CatalogError::Transient("another plan was applied in the meantime".to_owned()));
    }
    sqlx::query_scalar(include_str!("sql/register.sql"))
        .bind(worker.run)
        .bind(worker.plan.to_hex())
        .bind(&worker.host)
        .bind(&worker.boot_id)
        .bind(i64::from(worker.pid))
        .bind(worker.pid_start.to_string())
        .bind(signed(worker.lease_ms)?)
        .fetch_one(connection)
        .await
        .map_err(from_sqlx)
}

/// Fails when a worker that is not known to be dead runs another plan.
pub(super) async fn refuse_other_plan(connection: &mut SqliteConnection, plan: Fingerprint) -> Result<()> {
    let other: Option<(i64, i64, String)> = sqlx::query_as(
        "SELECT worker_id, pid, host FROM workers WHERE state = 'live' AND plan <> ?1 ORDER BY worker_id LIMIT 1",
    )
    .bind(plan.to_hex())
    .fetch_optional(connection)
    .await
    .map_err(from_sqlx)?;
    match other {
        Some((worker, pid, host)) => Err(CatalogError::OtherPlanRunning { worker, pid: small(pid)?, host }),
        None => Ok(()),
    }
}

/// See `Catalog::heartbeat`.
pub(super) async fn heartbeat(connection: &mut SqliteConnection, worker: &WorkerId) -> Result<bool> {
    let alive = sqlx::query(
        "UPDATE workers SET beat_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
         WHERE worker_id = ?1 AND state = 'live'",
    )
    .bind(worker)
    .execute(&mut *connection)
    .await
    .map_err(from_sqlx)?
    .rows_affected();
    sqlx::query(
        "UPDATE attempts SET wall_ms = max(wall_ms, CAST(unixepoch('subsec') * 1000 AS INTEGER) - started_ms)
         WHERE worker_id = ?1 AND outcome = 'running'",
    )
    .bind(worker)
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(alive > 0)
}

/// See `Catalog::reap`.
pub(super) async fn reap(connection: &mut SqliteConnection, gone: &[WorkerId]) -> Result<u64> {
    let dead: Vec<WorkerId> = sqlx::query_scalar(
        "UPDATE workers SET state = 'dead'
         WHERE state = 'live' AND (
             beat_ms + lease_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
             OR worker_id IN (SELECT value FROM json_each(?1)))
         RETURNING worker_id",
    )
    .bind(serde_json::to_string(gone).map_err(not_json)?)
    .fetch_all(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    let mut n_taken = 0;
    for worker in dead {
        tracing::debug!("worker {worker} is dead");
        let shards = leased(connection, worker).await?;
        n_taken += end_leases(connection, &shards, "lost", 1, "its worker died").await?;
    }
    Ok(n_taken)
}

/// See `Catalog::depart`.
pub(super) async fn depart(connection: &mut SqliteConnection, worker: &WorkerId) -> Result<()> {
    sqlx::query("UPDATE workers SET state = 'departed' WHERE worker_id = ?1 AND state = 'live'")
        .bind(worker)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let shards = leased(connection, *worker).await?;
    end_leases(connection, &shards, "released", 0, "its worker departed").await.map(|_| ())
}

/// Takes back the leases of those of `shards` (JSON) that are running, without counting deaths.
pub(super) async fn take_back(connection: &mut SqliteConnection, shards: &str, reason: &str) -> Result<u64> {
    end_leases(connection, shards, "released", 0, reason).await
}

async fn leased(connection: &mut SqliteConnection, worker: WorkerId) -> Result<String> {
    sqlx::query_scalar("SELECT json_group_array(shard_id) FROM shards WHERE worker_id = ?1 AND state = 'running'")
        .bind(worker)
        .fetch_one(connection)
        .await
        .map_err(from_sqlx)
}

async fn end_leases(
    connection: &mut SqliteConnection,
    shards: &str,
    outcome: &str,
    n_deaths: i64,
    message: &str,
) -> Result<u64> {
    if shards == "[]" {
        return Ok(0);
    }
    sqlx::query(include_str!("sql/end_leases.sql"))
        .bind(shards)
        .bind(outcome)
        .bind(message)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let taken = sqlx::query(include_str!("sql/take_back.sql"))
        .bind(shards)
        .bind(n_deaths)
        .bind(message)
        .execute(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(taken.rows_affected())
}

#[derive(sqlx::FromRow)]
struct WorkerRow {
    worker_id: i64,
    host: String,
    boot_id: String,
    pid: i64,
    pid_start: String,
    plan: String,
    silent_ms: i64,
    lease_ms: i64,
}

/// See `Catalog::workers`.
pub(super) async fn list(readers: &SqlitePool) -> Result<Vec<LiveWorker>> {
    let rows: Vec<WorkerRow> = sqlx::query_as(
        "SELECT worker_id, host, boot_id, pid, pid_start, plan, lease_ms,
             max(0, CAST(unixepoch('subsec') * 1000 AS INTEGER) - beat_ms) AS silent_ms
         FROM workers WHERE state = 'live' ORDER BY worker_id",
    )
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|row| {
            Ok(LiveWorker {
                worker_id: row.worker_id,
                host: row.host,
                boot_id: row.boot_id,
                pid: small(row.pid)?,
                pid_start: row.pid_start.parse().map_err(|_| {
                    CatalogError::Internal(format!("worker {} started at `{}`", row.worker_id, row.pid_start))
                })?,
                plan: fingerprint(&row.plan)?,
                silent_ms: unsigned(row.silent_ms)?,
                lease_ms: unsigned(row.lease_ms)?,
            })
        })
        .collect()
}
