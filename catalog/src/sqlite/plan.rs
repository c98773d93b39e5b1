//! Plans: which shards there are, which of them are made already, and what each waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cafe_pipeline::catalog::{
    CommittedCounts, ListingSlice, NodeEdge, OPENING, PlanApplied, PlanRecord, Result, ShardBatch, ShardKey, ShardRow,
};
use cafe_pipeline::stage::Mapping;
use sqlx::{SqliteConnection, SqlitePool};

use super::convert::{fingerprint, json, not_json, unsigned};
use super::error::from_sqlx;
use super::worker;

/// Rows per JSON text: bounds the memory of a large plan.
const CHUNK: usize = 20_000;

/// A batch, made ready for SQL before the writer is kept busy with it.
#[derive(Clone)]
pub(super) struct BatchText {
    rows: Vec<Arc<str>>,
    edges: Vec<NodeEdge>,
    /// Per node of the batch, whether it has more than its opening item.
    nodes: BTreeMap<String, bool>,
}

impl BatchText {
    pub(super) fn new(batch: &ShardBatch) -> Result<Self> {
        let mut nodes = BTreeMap::new();
        for row in &batch.rows {
            match nodes.get_mut(&row.key.node) {
                Some(has_shards) => *has_shards |= row.key.shard_index != OPENING,
                None => {
                    nodes.insert(row.key.node.clone(), row.key.shard_index != OPENING);
                }
            }
        }
        let rows = batch.rows.chunks(CHUNK).map(|rows| rows_text(rows).map(Arc::from)).collect::<Result<_>>()?;
        Ok(Self { rows, edges: batch.edges.clone(), nodes })
    }

    /// `from` and every node that reads from it, directly or not.
    fn below<'a>(&'a self, from: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut below: BTreeSet<&str> = from.into_iter().collect();
        loop {
            let n_before = below.len();
            for edge in &self.edges {
                if below.contains(edge.from.as_str()) {
                    below.insert(&edge.to);
                }
            }
            if below.len() == n_before {
                return below;
            }
        }
    }
}

fn rows_text(rows: &[ShardRow]) -> Result<String> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let slice = row.slice.as_ref();
            (
                &row.key.node,
                row.key.shard_index,
                row.key.fingerprint,
                row.depth,
                slice.map(|slice| &slice.path),
                slice.map(|slice| slice.offset),
                slice.map(|slice| slice.n_rows),
                slice.map(|slice| slice.digest),
            )
        })
        .collect();
    serde_json::to_string(&rows).map_err(not_json)
}

/// What a batch is about.
enum Scope<'a> {
    /// The whole plan.
    Plan {
        /// Whether it is the current one already.
        is_current: bool,
    },
    /// The nodes below, and opened by, this opening item.
    Opened { opening_id: i64, nodes: BTreeSet<&'a str> },
}

/// See `Catalog::apply_plan`.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    plan: &PlanRecord,
    batch: &BatchText,
) -> Result<PlanApplied> {
    // The shards of workers that are dead must not be taken for running.
    worker::reap(connection, &[]).await?;
    worker::refuse_other_plan(connection, plan.fingerprint).await?;
    let edges = serde_json::to_string(&batch.edges).map_err(not_json)?;
    let current: Option<(String, String)> =
        sqlx::query_as("SELECT fingerprint, edges FROM plans ORDER BY n_applied DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(from_sqlx)?;
    let is_current = current.as_ref().is_some_and(|(current, _)| *current == plan.fingerprint.to_hex());
    let has_new_edges = current.is_none_or(|(_, current)| current != edges);
    if has_new_edges {
        write_edges(connection, &batch.edges).await?;
    }
    sqlx::query(include_str!("sql/plan.sql"))
        .bind(plan.fingerprint.to_hex())
        .bind(&plan.manifest)
        .bind(plan.nodes.to_string())
        .bind(edges)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let n_retired = merge(connection, batch, &Scope::Plan { is_current }, has_new_edges).await?;
    let (n_committed, n_pending): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE state = 'committed'), count(*) FILTER (WHERE state NOT IN ('committed', 'retired'))
         FROM shards",
    )
    .fetch_one(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(PlanApplied { n_committed: unsigned(n_committed)?, n_pending: unsigned(n_pending)?, n_retired })
}

/// Brings the shards into being that an opening item found. It is committed already, in this transaction.
pub(super) async fn open_barrier(
    connection: &mut SqliteConnection,
    opening_id: i64,
    node: &str,
    batch: &BatchText,
) -> Result<()> {
    let scope = Scope::Opened { opening_id, nodes: batch.below([node]) };
    merge(connection, batch, &scope, false).await.map(|_| ())
}

/// Brings the catalog's shards in line with the batch. Returns how many were retired.
async fn merge(
    connection: &mut SqliteConnection,
    batch: &BatchText,
    scope: &Scope<'_>,
    has_new_edges: bool,
) -> Result<u64> {
    sqlx::query("DELETE FROM temp.wanted").execute(&mut *connection).await.map_err(from_sqlx)?;
    for rows in &batch.rows {
        sqlx::query(include_str!("sql/wanted.sql")).bind(&**rows).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    let (nodes, kept_shard, unknown, opening_only) = match scope {
        Scope::Plan { is_current: false } => (None, None, Vec::new(), Vec::new()),
        Scope::Plan { is_current: true } => {
            let (unknown, opening_only) = opened_meanwhile(connection, batch).await?;
            (None, None, unknown, opening_only)
        }
        Scope::Opened { opening_id, nodes } => {
            (Some(serde_json::to_string(nodes).map_err(not_json)?), Some(*opening_id), Vec::new(), Vec::new())
        }
    };
    let n_retired = retire(connection, nodes.as_deref(), kept_shard, &unknown, &opening_only).await?;
    let n_changed =
        sqlx::query(include_str!("sql/merge.sql")).execute(&mut *connection).await.map_err(from_sqlx)?.rows_affected();
    if n_changed == 0 && n_retired == 0 && !has_new_edges {
        return Ok(0);
    }
    sqlx::query(include_str!("sql/stale.sql")).execute(&mut *connection).await.map_err(from_sqlx)?;
    lay_edges(connection, nodes.as_deref()).await?;
    Ok(n_retired)
}

/// Another process of the same plan may have opened a barrier between the making of this batch and now: what it opened
/// is not in the batch, and must not be retired for it. Returns nodes of which the batch knows nothing, and those of
/// which it knows the opening item only.
async fn opened_meanwhile(connection: &mut SqliteConnection, batch: &BatchText) -> Result<(Vec<String>, Vec<String>)> {
    let opened: Vec<String> = sqlx::query_scalar(
        "SELECT node FROM temp.wanted JOIN shards USING (node, shard_index, fingerprint)
         WHERE shard_index = -1 AND state = 'committed'",
    )
    .fetch_all(connection)
    .await
    .map_err(from_sqlx)?;
    let opening_only: Vec<String> = opened.into_iter().filter(|node| batch.nodes.get(node) == Some(&false)).collect();
    let below = batch.below(opening_only.iter().map(String::as_str));
    let unknown = below.into_iter().filter(|node| !batch.nodes.contains_key(*node)).map(ToOwned::to_owned).collect();
    Ok((unknown, opening_only))
}

async fn retire(
    connection: &mut SqliteConnection,
    nodes: Option<&str>,
    kept_shard: Option<i64>,
    unknown: &[String],
    opening_only: &[String],
) -> Result<u64> {
    let unwanted: String = sqlx::query_scalar(include_str!("sql/unwanted.sql"))
        .bind(nodes)
        .bind(kept_shard)
        .bind(serde_json::to_string(unknown).map_err(not_json)?)
        .bind(serde_json::to_string(opening_only).map_err(not_json)?)
        .fetch_one(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    if unwanted == "[]" {
        return Ok(0);
    }
    worker::take_back(connection, &unwanted, "the plan has no use for it any more").await?;
    let retired = sqlx::query(
        "UPDATE shards SET state = 'retired', n_waiting = 0 WHERE shard_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(unwanted)
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(retired.rows_affected())
}

async fn write_edges(connection: &mut SqliteConnection, edges: &[NodeEdge]) -> Result<()> {
    for sql in ["DELETE FROM edge_tables", "DELETE FROM node_edges"] {
        sqlx::query(sql).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    for (edge_id, edge) in (1_i64..).zip(edges) {
        sqlx::query("INSERT INTO node_edges (edge_id, from_node, to_node, mapping) VALUES (?1, ?2, ?3, ?4)")
            .bind(edge_id)
            .bind(&edge.from)
            .bind(&edge.to)
            .bind(match edge.mapping {
                Mapping::Same => "same",
                Mapping::All => "all",
            })
            .execute(&mut *connection)
            .await
            .map_err(from_sqlx)?;
        for table in &edge.tables {
            sqlx::query("INSERT OR IGNORE INTO edge_tables (edge_id, table_name) VALUES (?1, ?2)")
                .bind(edge_id)
                .bind(table)
                .execute(&mut *connection)
                .await
                .map_err(from_sqlx)?;
        }
    }
    Ok(())
}

/// Lays the edges into the shards of `nodes` (all when not given) anew, and counts what each shard waits for.
async fn lay_edges(connection: &mut SqliteConnection, nodes: Option<&str>) -> Result<()> {
    let delete = match nodes {
        None => "DELETE FROM edges",
        Some(_) => {
            "DELETE FROM edges WHERE shard_id IN (
                SELECT shard_id FROM shards WHERE node IN (SELECT value FROM json_each(?1)))"
        }
    };
    let query = sqlx::query(delete);
    let query = if nodes.is_some() { query.bind(nodes) } else { query };
    query.execute(&mut *connection).await.map_err(from_sqlx)?;
    for sql in [
        include_str!("sql/lay_same.sql"),
        include_str!("sql/lay_all.sql"),
        include_str!("sql/lay_opened.sql"),
        include_str!("sql/recount.sql"),
    ] {
        sqlx::query(sql).bind(nodes).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(())
}

/// See `Catalog::current_plan`.
pub(super) async fn current(readers: &SqlitePool) -> Result<Option<PlanRecord>> {
    let row: Option<(String, String, String)> =
        sqlx::query_as("SELECT fingerprint, manifest, nodes FROM plans ORDER BY n_applied DESC LIMIT 1")
            .fetch_optional(readers)
            .await
            .map_err(from_sqlx)?;
    row.map(|(hex, manifest, nodes)| Ok(PlanRecord { fingerprint: fingerprint(&hex)?, manifest, nodes: json(&nodes)? }))
        .transpose()
}

/// See `Catalog::find_committed`.
pub(super) async fn find_committed(readers: &SqlitePool, keys: &[ShardKey]) -> Result<Vec<Option<CommittedCounts>>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(CHUNK) {
        let wanted: Vec<_> = keys.iter().map(|key| (&key.node, key.shard_index, key.fingerprint)).collect();
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(include_str!("sql/find_committed.sql"))
            .bind(serde_json::to_string(&wanted).map_err(not_json)?)
            .fetch_all(readers)
            .await
            .map_err(from_sqlx)?;
        let start = found.len();
        found.resize(start + keys.len(), None);
        for (position, n_in, n_out) in rows {
            let slot = usize::try_from(position).ok().and_then(|position| found.get_mut(start + position));
            if let Some(slot) = slot {
                *slot = Some(CommittedCounts { n_in: unsigned(n_in)?, n_out: unsigned(n_out)? });
            }
        }
    }
    Ok(found)
}

/// See `Catalog::find_opening`.
pub(super) async fn find_opening(readers: &SqlitePool, key: &ShardKey) -> Result<Option<Vec<ListingSlice>>> {
    let slices: Option<Option<String>> = sqlx::query_scalar(
        "SELECT opened_slices FROM shards WHERE node = ?1 AND shard_index = ?2 AND fingerprint = ?3 AND is_made = 1",
    )
    .bind(&key.node)
    .bind(key.shard_index)
    .bind(key.fingerprint.to_hex())
    .fetch_optional(readers)
    .await
    .map_err(from_sqlx)?;
    slices.flatten().map(|slices| serde_json::from_str(&slices).map_err(not_json)).transpose()
}
