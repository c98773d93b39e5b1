//! Changes to the catalog that are committed together with a shard.

use cafe_pipeline::catalog::{CatalogError, Effect, QuadrupletRow, ReleaseRecord, Result};
use sqlx::SqliteConnection;

use super::convert::{not_json, signed};
use super::error::from_sqlx;

/// Applies the effects, releases first: quadruplets refer to them.
pub(super) async fn apply(connection: &mut SqliteConnection, shard_id: i64, effects: &[Effect]) -> Result<()> {
    for effect in effects {
        if let Effect::Release(release) = effect {
            add_release(connection, shard_id, release).await?;
        }
    }
    for effect in effects {
        if let Effect::Quadruplets(rows) = effect {
            add_quadruplets(connection, rows).await?;
        }
    }
    Ok(())
}

/// The same release may be made again, after its shard was damaged; another one of the same id may not be.
async fn add_release(connection: &mut SqliteConnection, shard_id: i64, release: &ReleaseRecord) -> Result<()> {
    let n_added = sqlx::query(include_str!("sql/release.sql"))
        .bind(&release.release_id)
        .bind(&release.name)
        .bind(&release.path)
        .bind(release.digest.to_hex())
        .bind(signed(release.n_rows)?)
        .bind(release.summary.to_string())
        .bind(shard_id)
        .execute(connection)
        .await
        .map_err(from_sqlx)?
        .rows_affected();
    if n_added == 0 {
        return Err(CatalogError::Internal(format!(
            "the release {} is there already, with another digest",
            release.release_id
        )));
    }
    Ok(())
}

async fn add_quadruplets(connection: &mut SqliteConnection, rows: &[QuadrupletRow]) -> Result<()> {
    sqlx::query(include_str!("sql/quadruplets.sql"))
        .bind(serde_json::to_string(rows).map_err(not_json)?)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(from_sqlx)
}
