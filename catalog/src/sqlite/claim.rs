//! Leases: which shards a worker gets, and all that it needs to make them.

use std::collections::BTreeMap;

use cafe_pipeline::catalog::{ClaimRequest, Result, ShardKey, WorkItem};
use cafe_pipeline::stage::InputShard;
use sqlx::SqliteConnection;

use super::convert::{SliceColumns, digest, fingerprint, not_json, small, unsigned};
use super::error::from_sqlx;

/// See `Catalog::claim`.
pub(super) async fn claim(connection: &mut SqliteConnection, request: &ClaimRequest) -> Result<Vec<WorkItem>> {
    if request.nodes.is_empty() || request.limit == 0 {
        return Ok(Vec::new());
    }
    let nodes: Vec<(String, i64, i64)> = sqlx::query_as(include_str!("sql/ready_nodes.sql"))
        .bind(serde_json::to_string(&request.nodes).map_err(not_json)?)
        .bind(request.worker)
        .fetch_all(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let Some((_, _, run)) = nodes.first() else { return Ok(Vec::new()) };
    let chosen = choose(connection, request, &nodes).await?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let shards = serde_json::to_string(&chosen).map_err(not_json)?;
    let leased: Vec<LeasedRow> = sqlx::query_as(include_str!("sql/lease.sql"))
        .bind(&shards)
        .bind(request.worker)
        .bind(run)
        .fetch_all(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let mut inputs = inputs(connection, &shards).await?;
    let mut leased: BTreeMap<i64, LeasedRow> = leased.into_iter().map(|row| (row.shard_id, row)).collect();
    chosen
        .into_iter()
        .filter_map(|shard_id| leased.remove(&shard_id))
        .map(|row| {
            let inputs = inputs.remove(&row.shard_id).unwrap_or_default();
            row.item(inputs)
        })
        .collect()
}

/// Ready shards of `nodes` (name, depth, …), deepest nodes first, then by index, then as the nodes are asked for.
async fn choose(
    connection: &mut SqliteConnection,
    request: &ClaimRequest,
    nodes: &[(String, i64, i64)],
) -> Result<Vec<i64>> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let (part, n_parts) = request.part.unwrap_or((0, 0));
    let place_of = |node: &String| request.nodes.iter().position(|asked| asked == node);
    let mut chosen = Vec::new();
    for same_depth in nodes.chunk_by(|one, other| one.1 == other.1) {
        if chosen.len() >= limit {
            break;
        }
        let mut ready: Vec<(i64, Option<usize>, i64)> = Vec::new();
        for (node, ..) in same_depth {
            let place = place_of(node);
            let rows: Vec<(i64, i64)> = sqlx::query_as(include_str!("sql/ready_shards.sql"))
                .bind(node)
                .bind(i64::from(n_parts))
                .bind(i64::from(part))
                .bind(i64::try_from(limit - chosen.len()).unwrap_or(i64::MAX))
                .fetch_all(&mut *connection)
                .await
                .map_err(from_sqlx)?;
            ready.extend(rows.into_iter().map(|(shard_index, shard_id)| (shard_index, place, shard_id)));
        }
        ready.sort_unstable();
        chosen.extend(ready.into_iter().take(limit - chosen.len()).map(|(.., shard_id)| shard_id));
    }
    Ok(chosen)
}

#[derive(sqlx::FromRow)]
struct LeasedRow {
    shard_id: i64,
    node: String,
    shard_index: i64,
    fingerprint: String,
    token: i64,
    n_tries: i64,
    n_deaths: i64,
    micro_batch: Option<i64>,
    #[sqlx(flatten)]
    slice: SliceColumns,
}

impl LeasedRow {
    fn item(self, inputs: Vec<InputShard>) -> Result<WorkItem> {
        Ok(WorkItem {
            shard_id: self.shard_id,
            key: ShardKey {
                node: self.node,
                shard_index: self.shard_index,
                fingerprint: fingerprint(&self.fingerprint)?,
            },
            token: unsigned(self.token)?,
            slice: self.slice.slice()?,
            inputs,
            n_tries: small(self.n_tries)?,
            n_deaths: small(self.n_deaths)?,
            micro_batch: self.micro_batch.map(small).transpose()?,
        })
    }
}

/// A row of `shard_files` with its shard.
#[derive(sqlx::FromRow)]
pub(super) struct InputRow {
    shard_id: i64,
    node: String,
    shard_index: i64,
    table_name: String,
    path: String,
    digest: String,
    content: String,
    n_bytes: i64,
    n_rows: i64,
}

impl InputRow {
    pub(super) fn input(self) -> Result<InputShard> {
        Ok(InputShard {
            shard_id: self.shard_id,
            node: self.node,
            shard_index: small(self.shard_index)?,
            table: self.table_name,
            path: self.path,
            digest: digest(&self.digest)?,
            content: digest(&self.content)?,
            n_bytes: unsigned(self.n_bytes)?,
            n_rows: unsigned(self.n_rows)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct ReaderRow {
    reader_id: i64,
    #[sqlx(flatten)]
    input: InputRow,
}

/// The files that each of `shards` (JSON) reads.
async fn inputs(connection: &mut SqliteConnection, shards: &str) -> Result<BTreeMap<i64, Vec<InputShard>>> {
    let rows: Vec<ReaderRow> =
        sqlx::query_as(include_str!("sql/inputs.sql")).bind(shards).fetch_all(connection).await.map_err(from_sqlx)?;
    let mut inputs: BTreeMap<i64, Vec<InputShard>> = BTreeMap::new();
    for row in rows {
        inputs.entry(row.reader_id).or_default().push(row.input.input()?);
    }
    Ok(inputs)
}
