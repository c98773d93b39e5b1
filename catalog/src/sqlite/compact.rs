//! Smaller files in place of committed ones.

use cafe_pipeline::catalog::{Compaction, Result};
use sqlx::SqliteConnection;

use super::convert::signed;
use super::error::from_sqlx;

/// See `Catalog::compact`.
pub(super) async fn compact(connection: &mut SqliteConnection, compaction: &Compaction) -> Result<bool> {
    let n_changed = sqlx::query(include_str!("sql/compact.sql"))
        .bind(compaction.shard_id)
        .bind(&compaction.old_path)
        .bind(&compaction.path)
        .bind(compaction.digest.to_hex())
        .bind(signed(compaction.n_bytes)?)
        .bind(compaction.kept.as_str())
        .bind(compaction.worker)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?
        .rows_affected();
    if n_changed == 0 {
        return Ok(false);
    }
    // The shard's own digest stays: lineage is about what was committed.
    sqlx::query(
        "UPDATE shards SET n_bytes = (SELECT sum(n_bytes) FROM shard_files WHERE shard_files.shard_id = ?1)
         WHERE shard_id = ?1",
    )
    .bind(compaction.shard_id)
    .execute(connection)
    .await
    .map(|_| true)
    .map_err(from_sqlx)
}
