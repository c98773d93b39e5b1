//! Ends of attempts: commits, and what else may become of a lease.

use cafe_pipeline::catalog::{
    AttemptEnd, AttemptOutcome, CatalogError, Commit, CommitOutcome, QuarantineRow, Result, shard_digest,
};
use sqlx::SqliteConnection;

use super::convert::{not_json, signed};
use super::effect;
use super::error::from_sqlx;
use super::plan::{self, BatchText};
use super::worker;

/// See `Catalog::commit`. `opened` is the batch of `commit.opened`, made ready.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    commit: &Commit,
    opened: &Option<BatchText>,
) -> Result<CommitOutcome> {
    let leased: Option<(String, Option<String>)> =
        sqlx::query_as("SELECT node, digest FROM shards WHERE shard_id = ?1 AND token = ?2 AND state = 'running'")
            .bind(commit.shard_id)
            .bind(signed(commit.token)?)
            .fetch_optional(&mut *connection)
            .await
            .map_err(from_sqlx)?;
    let Some((node, old_digest)) = leased else { return Ok(CommitOutcome::LeaseLost) };
    check(&node, commit)?;
    if old_digest.is_some() {
        for sql in [
            "DELETE FROM shard_files WHERE shard_id = ?1",
            "DELETE FROM shard_inputs WHERE shard_id = ?1",
            "DELETE FROM quarantine WHERE shard_id = ?1",
        ] {
            sqlx::query(sql).bind(commit.shard_id).execute(&mut *connection).await.map_err(from_sqlx)?;
        }
    }
    let digest = shard_digest(&commit.files).to_hex();
    write_shard(connection, commit, &digest).await?;
    write_quarantine(connection, commit.shard_id, &commit.quarantine).await?;
    effect::apply(connection, commit.shard_id, &commit.effects).await?;
    if old_digest.is_some_and(|old_digest| old_digest != digest) {
        outdate_readers(connection, commit.shard_id, &digest).await?;
    }
    if let Some(opened) = opened {
        plan::open_barrier(connection, commit.shard_id, &node, opened).await?;
    }
    Ok(CommitOutcome::Committed)
}

/// A commit whose numbers contradict each other is a defect, and must not become part of the books.
fn check(node: &str, commit: &Commit) -> Result<()> {
    let counts = &commit.counts;
    if !counts.balances() {
        return Err(CatalogError::Internal(format!("rows of a shard of {node} do not balance: {counts:?}")));
    }
    if commit.quarantine.len() as u64 != counts.n_quarantined {
        return Err(CatalogError::Internal(format!(
            "a shard of {node} counts {} rows in quarantine and names {}",
            counts.n_quarantined,
            commit.quarantine.len()
        )));
    }
    Ok(())
}

/// Points the shard at its files, writes lineage and ledger, and brings its readers closer to ready.
async fn write_shard(connection: &mut SqliteConnection, commit: &Commit, digest: &str) -> Result<()> {
    let slices =
        commit.opened.as_ref().map(|(slices, _)| serde_json::to_string(slices).map_err(not_json)).transpose()?;
    let n_out = commit.files.first().map_or(0, |file| file.n_rows);
    let n_bytes = commit.files.iter().map(|file| file.n_bytes).sum();
    sqlx::query(include_str!("sql/commit_shard.sql"))
        .bind(commit.shard_id)
        .bind(signed(commit.token)?)
        .bind(serde_json::to_string(&commit.files).map_err(not_json)?)
        .bind(signed(commit.wall_ms)?)
        .bind(signed(commit.cost.device_ms)?)
        .bind(signed(commit.cost.prompt_tokens)?)
        .bind(signed(commit.cost.completion_tokens)?)
        .bind(signed(commit.cost.n_tries)?)
        .bind(signed(commit.counts.n_in)?)
        .bind(signed(commit.counts.n_done)?)
        .bind(signed(n_out)?)
        .bind(signed(n_bytes)?)
        .bind(&commit.backend)
        .bind(signed(commit.counts.n_quarantined)?)
        .bind(signed(commit.counts.n_duplicate)?)
        .bind(digest)
        .bind(slices)
        .bind(signed(commit.queued_ms)?)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(from_sqlx)
}

async fn write_quarantine(connection: &mut SqliteConnection, shard_id: i64, rows: &[QuarantineRow]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO quarantine (shard_id, row_number, row_id, class, message)
         SELECT ?1, value ->> 'row', value ->> 'row_id', value ->> 'class', value ->> 'message' FROM json_each(?2)",
    )
    .bind(shard_id)
    .bind(serde_json::to_string(rows).map_err(not_json)?)
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(from_sqlx)
}

/// A shard was made again with other bytes: what was made from the old ones becomes pending; what is being made from
/// them loses its lease. What was made from those in turn stays for now: their bytes may come out the same.
async fn outdate_readers(connection: &mut SqliteConnection, shard_id: i64, digest: &str) -> Result<()> {
    let outdated: Vec<(i64, bool)> = sqlx::query_as(include_str!("sql/outdated.sql"))
        .bind(shard_id)
        .bind(digest)
        .fetch_all(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let select = |running: bool| -> Result<String> {
        let ids: Vec<i64> = outdated.iter().filter(|row| row.1 == running).map(|row| row.0).collect();
        serde_json::to_string(&ids).map_err(not_json)
    };
    worker::take_back(connection, &select(true)?, "an input was made again with other bytes").await?;
    unmake(connection, &select(false)?, "an input was made again with other bytes").await
}

/// Committed shards (JSON) become pending; those that read them wait for them.
async fn unmake(connection: &mut SqliteConnection, shards: &str, reason: &str) -> Result<()> {
    if shards == "[]" {
        return Ok(());
    }
    sqlx::query(
        "UPDATE shards SET state = 'pending', is_made = 0, n_tries = 0, not_before_ms = 0, message = ?2
         WHERE state = 'committed' AND shard_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(shards)
    .bind(reason)
    .execute(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    sqlx::query(include_str!("sql/wait_again.sql"))
        .bind(shards)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(from_sqlx)
}

/// See `Catalog::invalidate`.
pub(super) async fn invalidate(connection: &mut SqliteConnection, shard_id: &i64, reason: &str) -> Result<()> {
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM shards WHERE shard_id = ?1 AND is_made = 1")
        .bind(shard_id)
        .fetch_optional(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    match state.as_deref() {
        Some("committed") => unmake(connection, &format!("[{shard_id}]"), reason).await,
        // It stays retired, but will not come back as committed.
        Some(_) => sqlx::query("UPDATE shards SET is_made = 0, message = ?2 WHERE shard_id = ?1")
            .bind(shard_id)
            .bind(reason)
            .execute(connection)
            .await
            .map(|_| ())
            .map_err(from_sqlx),
        None => Ok(()),
    }
}

/// See `Catalog::give_up`.
pub(super) async fn give_up(connection: &mut SqliteConnection, end: &AttemptEnd) -> Result<()> {
    let (name, state, n_tries, after_ms, micro_batch, hung) = match &end.outcome {
        AttemptOutcome::Released => ("released", "pending", 0, 0, None, false),
        AttemptOutcome::Retry { after_ms } => ("retried", "pending", 1, *after_ms, None, false),
        AttemptOutcome::Failed => ("failed", "failed", 0, 0, None, false),
        AttemptOutcome::Shrink { micro_batch } => ("shrunk", "pending", 0, 0, Some(i64::from(*micro_batch)), false),
        AttemptOutcome::Hung => ("hung", "pending", 0, 0, None, true),
    };
    let token = signed(end.token)?;
    let n_given_up = sqlx::query(include_str!("sql/give_up.sql"))
        .bind(end.shard_id)
        .bind(token)
        .bind(state)
        .bind(n_tries)
        .bind(signed(after_ms)?)
        .bind(micro_batch)
        .bind(hung)
        .bind(&end.message)
        .bind(signed(end.wall_ms)?)
        .bind(signed(end.cost.device_ms)?)
        .bind(signed(end.cost.prompt_tokens)?)
        .bind(signed(end.cost.completion_tokens)?)
        .bind(signed(end.cost.n_tries)?)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?
        .rows_affected();
    if n_given_up == 0 {
        return Ok(());
    }
    sqlx::query(include_str!("sql/end_attempt.sql"))
        .bind(end.shard_id)
        .bind(token)
        .bind(name)
        .bind(&end.message)
        .bind(signed(end.wall_ms)?)
        .bind(signed(end.cost.device_ms)?)
        .bind(signed(end.cost.prompt_tokens)?)
        .bind(signed(end.cost.completion_tokens)?)
        .bind(signed(end.cost.n_tries)?)
        .bind(signed(end.queued_ms)?)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(from_sqlx)
}
