//! What is written down and read again as it is: events, adoptions, releases.

use cafe_pipeline::catalog::{Adoption, EventRecord, ReleaseRecord, Result};
use sqlx::{SqliteConnection, SqlitePool};

use super::convert::{digest, fingerprint, json, unsigned};
use super::error::from_sqlx;

/// See `Catalog::adopt`.
pub(super) async fn adopt(connection: &mut SqliteConnection, adoption: &Adoption) -> Result<()> {
    sqlx::query(
        "INSERT INTO adoptions (node, wanted, taken, reason, adopted_ms)
         VALUES (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
    )
    .bind(&adoption.node)
    .bind(adoption.wanted.to_hex())
    .bind(adoption.taken.to_hex())
    .bind(&adoption.reason)
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(from_sqlx)
}

/// See `Catalog::adoptions`.
pub(super) async fn adoptions(readers: &SqlitePool) -> Result<Vec<Adoption>> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT node, wanted, taken, reason FROM adoptions ORDER BY adoption_id")
            .fetch_all(readers)
            .await
            .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|(node, wanted, taken, reason)| {
            Ok(Adoption { node, wanted: fingerprint(&wanted)?, taken: fingerprint(&taken)?, reason })
        })
        .collect()
}

/// See `Catalog::record_events`.
pub(super) async fn record_events(connection: &mut SqliteConnection, events: &[EventRecord]) -> Result<()> {
    for event in events {
        sqlx::query(
            "INSERT INTO events (at_ms, run_id, kind, detail)
             VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER), ?1, ?2, ?3)",
        )
        .bind(event.run)
        .bind(&event.kind)
        .bind(event.detail.to_string())
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    }
    Ok(())
}

/// See `Catalog::events`.
pub(super) async fn events(readers: &SqlitePool, limit: u32) -> Result<Vec<EventRecord>> {
    let rows: Vec<(i64, Option<i64>, String, String)> = sqlx::query_as(
        "SELECT at_ms, run_id, kind, detail FROM (SELECT * FROM events ORDER BY event_id DESC LIMIT ?1)
         ORDER BY event_id",
    )
    .bind(i64::from(limit))
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|(at_ms, run, kind, detail)| Ok(EventRecord { at_ms, run, kind, detail: json(&detail)? }))
        .collect()
}

#[derive(sqlx::FromRow)]
struct ReleaseRow {
    release_id: String,
    name: String,
    path: String,
    digest: String,
    n_rows: i64,
    summary: String,
}

/// See `Catalog::releases`.
pub(super) async fn releases(readers: &SqlitePool) -> Result<Vec<ReleaseRecord>> {
    let rows: Vec<ReleaseRow> =
        sqlx::query_as("SELECT release_id, name, path, digest, n_rows, summary FROM releases ORDER BY ordinal")
            .fetch_all(readers)
            .await
            .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|row| {
            Ok(ReleaseRecord {
                release_id: row.release_id,
                name: row.name,
                path: row.path,
                digest: digest(&row.digest)?,
                n_rows: unsigned(row.n_rows)?,
                summary: json(&row.summary)?,
            })
        })
        .collect()
}

/// See `Catalog::releases_with`.
pub(super) async fn releases_with(readers: &SqlitePool, quadruplet_id: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT releases.release_id FROM quadruplets
         JOIN releases ON releases.release_id = quadruplets.release_id
         WHERE quadruplet_id = ?1 ORDER BY ordinal",
    )
    .bind(quadruplet_id)
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)
}
