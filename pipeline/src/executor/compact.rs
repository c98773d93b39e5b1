//! Drops the pictures of rejected rows, once nothing of the plan waits for them: what `keep_rejects` asks for.
//!
//! To those who read it a shard stays what it was committed as. Another file takes the place of its file, under a name that
//! nobody else can have, and the catalog turns to it in one transaction: if the shard has the file still that was read, and
//! this worker is not taken for dead. The old file goes with a sweep. Who needs a picture that is gone has the shard made
//! again ([`WorkError::Dropped`]): a compaction too many costs time, and never a row.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::sync::Arc;

use super::event::Event;
use super::item::preflight;
use super::shared::Shared;
use crate::catalog::{CatalogError, Compaction, NodeProgress, ShardFile, ShardState, WorkerId};
use crate::digest::Digest;
use crate::dropped::Dropped;
use crate::failpoint::{FailPoint, try_pass};
use crate::frame;
use crate::plan::{Plan, PlanNode};
use crate::stage::{InputShard, Kept, Rejects, Work, WorkContext, WorkError};
use crate::storage::{StoredFile, write_once};

/// Compacts what may be compacted, and returns how many shards were.
///
/// Of several workers the one that registered first does it: all of them would write the same files.
pub(super) async fn compact(shared: &Arc<Shared>, own: WorkerId) -> Result<u64, CompactError> {
    let sources = sources(&shared.plan);
    // Previews are made to be looked at.
    if sources.is_empty() || shared.options.sample.is_some() || shared.cancel.is_cancelled() {
        return Ok(0);
    }
    if shared.catalog.workers().await?.iter().any(|worker| worker.worker_id < own) {
        return Ok(0);
    }
    let progress = shared.catalog.progress().await?;
    let mut n_compacted = 0;
    for source in sources.iter().filter(|source| source.is_read(&shared.plan, &progress)) {
        n_compacted += source.compact(shared, own).await?;
    }
    Ok(n_compacted)
}

/// A table of one node, and the nodes that reject some of its rows.
#[derive(Debug)]
struct Source {
    table: String,
    node: String,
    kept: Kept,
    judges: Vec<String>,
}

/// The tables that any node says something of; those of which all rows are to be kept left out.
fn sources(plan: &Plan) -> Vec<Source> {
    let mut found: BTreeMap<(String, String), (Option<Kept>, Vec<String>)> = BTreeMap::new();
    for node in &plan.nodes {
        let Some(rejects) = rejects(node) else { continue };
        for read in node.reads.iter().filter(|read| read.table == rejects.table()) {
            for from in &read.from {
                let source = found.entry((read.table.clone(), from.clone()));
                let (kept, judges) = source.or_insert((Some(Kept::Scores), Vec::new()));
                // Where two publish the same rows, what one of them keeps is kept.
                *kept = kept.zip(rejects.kept()).map(|(one, other)| one.max(other));
                judges.push(node.name.clone());
            }
        }
    }
    found
        .into_iter()
        .filter_map(|((table, node), (kept, judges))| Some(Source { table, node, kept: kept?, judges }))
        .collect()
}

fn rejects(node: &PlanNode) -> Option<&dyn Rejects> {
    match &node.decl.work {
        Work::Whole(work) => work.rejects(),
        Work::Rows(_) => None,
    }
}

impl Source {
    /// Whether all who read the table, of whom its judges are some, are done with it.
    fn is_read(&self, plan: &Plan, progress: &[NodeProgress]) -> bool {
        let is_done = |name: &str| {
            let node = progress.iter().find(|node| node.node == name);
            node.is_some_and(|node| node.n_pending + node.n_running + node.n_failed == 0)
        };
        let reads =
            |node: &&PlanNode| node.reads.iter().any(|read| read.table == self.table && read.from.contains(&self.node));
        is_done(&self.node) && plan.nodes.iter().filter(reads).all(|node| is_done(&node.name))
    }

    async fn compact(&self, shared: &Arc<Shared>, own: WorkerId) -> Result<u64, CompactError> {
        let committed = shared.catalog.shards(Some(&self.node)).await?.into_iter();
        let committed = committed.filter(|shard| shard.state == ShardState::Committed);
        let files = committed.flat_map(|shard| shard.files.into_iter().map(move |file| (shard.shard_id, file)));
        let is_large = |file: &ShardFile| file.compacted.is_none_or(|compacted| compacted.kept > self.kept);
        let files: Vec<(i64, ShardFile)> =
            files.filter(|(_, file)| file.table == self.table && is_large(file)).collect();
        if files.is_empty() {
            return Ok(0);
        }
        let inputs = shared.catalog.files().await?;
        let judges = self.judges.clone();
        let rejected = blocking(shared, move |shared| rejected(shared, &judges, &inputs)).await?;
        let rejected = Arc::new(rejected);
        let (mut n_shards, mut n_bytes) = (0, 0);
        for (shard_id, file) in files {
            if rejected.is_empty() || shared.cancel.is_cancelled() {
                break;
            }
            let (old_path, old_bytes) = (file.path.clone(), file.n_bytes);
            let (rejected, judge, kept) = (Arc::clone(&rejected), self.judges.first().cloned(), self.kept);
            let written = blocking(shared, move |shared| rewrite(shared, &file, own, &rejected, judge, kept)).await?;
            let Some(StoredFile { path, digest, n_bytes: new_bytes }) = written else { continue };
            let compaction = Compaction { worker: own, shard_id, old_path, path, digest, n_bytes: new_bytes, kept };
            if shared.catalog.compact(&compaction).await? {
                n_shards += 1;
                n_bytes += old_bytes - new_bytes;
            }
        }
        if n_shards > 0 {
            shared.emit(&Event::PicturesDropped { node: self.node.clone(), n_shards, n_bytes });
        }
        Ok(n_shards)
    }
}

/// The rows that all of `judges` reject.
fn rejected(shared: &Shared, judges: &[String], inputs: &[InputShard]) -> Result<HashSet<String>, WorkError> {
    let mut common: Option<HashSet<String>> = None;
    for node in judges.iter().filter_map(|name| shared.plan.node(name)) {
        let Some(rejects) = rejects(node) else { continue };
        let ids = rejects.ids(&context(shared, node, inputs))?;
        common = Some(match common {
            None => ids,
            Some(mut common) => {
                common.retain(|id| ids.contains(id));
                common
            }
        });
    }
    Ok(common.unwrap_or_default())
}

/// What `node` was given when it was made.
fn context(shared: &Shared, node: &PlanNode, files: &[InputShard]) -> WorkContext {
    let mut inputs: BTreeMap<String, Vec<InputShard>> = BTreeMap::new();
    let is_read =
        |file: &&InputShard| node.reads.iter().any(|read| read.table == file.table && read.from.contains(&file.node));
    for file in files.iter().filter(is_read) {
        inputs.entry(file.table.clone()).or_default().push(file.clone());
    }
    WorkContext {
        node: node.name.clone(),
        shard_index: 0,
        seed: shared.plan.seed(),
        storage: Arc::clone(&shared.storage),
        scratch: shared.storage.root().join("scratch"),
        inputs,
        cancel: shared.cancel.clone(),
    }
}

/// Writes what takes the place of `file`; `None` where that would not be smaller.
fn rewrite(
    shared: &Shared,
    file: &ShardFile,
    own: WorkerId,
    rejected: &HashSet<String>,
    judge: Option<String>,
    kept: Kept,
) -> Result<Option<StoredFile>, WorkError> {
    preflight(shared.site())?;
    let storage = shared.storage.as_ref();
    let failed = |error: io::Error| WorkError::io(&file.path, &error);
    let mut bytes = Vec::new();
    storage.open(&file.path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed)?;
    // What is damaged must not get a digest that says it is sound.
    if Digest::of(&bytes) != file.digest {
        tracing::warn!("{} has other bytes than were committed: audit --verify", file.path);
        return Ok(None);
    }
    let before = Dropped::of(storage.open(&file.path).map_err(failed)?)?;
    let judge = judge.and_then(|name| rejects(shared.plan.node(&name)?));
    let thumbnails = |pictures: &[&[u8]]| judge.map_or_else(Vec::new, |judge| judge.thumbnails(pictures));
    let rows = frame::from_parquet(bytes)?;
    let bytes = Dropped::drop_from(rows, before, kept, |id| rejected.contains(id), thumbnails)?;
    let Some(bytes) = bytes.filter(|bytes| (bytes.len() as u64) < file.n_bytes) else { return Ok(None) };
    // A worker compacts a file once: this name is its own.
    let path = format!("{}.{own}.parquet", file.path.strip_suffix(".parquet").unwrap_or(&file.path));
    try_pass(FailPoint::CompactWriting).map_err(failed)?;
    let stored = write_once(storage, &path, &bytes).map_err(failed)?;
    try_pass(FailPoint::CompactWritten).map_err(failed)?;
    Ok(Some(stored))
}

async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T, WorkError> + Send + 'static,
) -> Result<T, CompactError> {
    let shared = Arc::clone(shared);
    let done = tokio::task::spawn_blocking(move || work(&shared)).await;
    Ok(done.map_err(|error| CompactError::Broken(error.to_string()))??)
}

/// Why not everything was compacted.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompactError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("{0}")]
    Broken(String),
}
