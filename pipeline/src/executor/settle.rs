//! What follows from an attempt: a commit, or the reason why there is none.

use std::time::Duration;

use super::RunError;
use super::event::Event;
use super::item::{Journals, Made, milliseconds};
use super::shared::Shared;
use crate::catalog::{AttemptEnd, AttemptOutcome, CatalogError, Commit, CommitOutcome, OPENING, WorkItem};
use crate::digest::Hasher;
use crate::plan::{PlanNode, expand};
use crate::stage::{Bounds, Cost, Work, WorkError};

/// Back-off of the first retry; doubled with each.
const BACK_OFF_MS: u64 = 500;
const MAX_BACK_OFF_MS: u64 = 60_000;
/// A commit is worth more patience than a shard's next try: its work is done.
const COMMIT_TRIES: u32 = 8;

/// How an attempt came to its end.
pub(super) enum Ended {
    Made(Box<Made>),
    Failed(WorkError),
    /// A batch did not end in so long; its thread was given up.
    Hung(Duration),
}

/// Times of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// From the lease to the begin of the work.
    pub(super) queued: Duration,
    /// Of the work.
    pub(super) took: Duration,
}

/// An attempt that is over.
pub(super) struct Settled {
    pub(super) node: String,
    pub(super) took: Duration,
    pub(super) verdict: Verdict,
}

/// What follows for the run.
pub(super) enum Verdict {
    Committed,
    Returned,
    StopStage(String),
    /// What its stage needs is not there now.
    WaitStage(String),
    StopRun(String),
}

/// Commits what was made, or ends the attempt as its failure demands.
pub(super) async fn settle(shared: &Shared, item: &WorkItem, ended: Ended, times: Times) -> Result<Verdict, RunError> {
    let node = shared.plan.node(&item.key.node);
    let node = node.ok_or_else(|| RunError::Internal(format!("{} is not in the plan", item.key.node)))?;
    match ended {
        Ended::Made(made) => commit(shared, node, item, *made, times).await,
        Ended::Failed(error) => fail(shared, node, item, error, times).await,
        Ended::Hung(deadline) => {
            let message = format!("a batch did not end in {} s", deadline.as_secs_f64());
            give_up(shared, item, AttemptOutcome::Hung, message.clone(), times).await?;
            shared.emit(&Event::Retrying {
                node: node.name.clone(),
                shard_index: item.key.shard_index,
                after_ms: 0,
                message,
            });
            Ok(Verdict::Returned)
        }
    }
}

async fn commit(
    shared: &Shared,
    node: &PlanNode,
    item: &WorkItem,
    made: Made,
    times: Times,
) -> Result<Verdict, RunError> {
    let Made { mut commit, n_rejected, slices } = made;
    let n_opened = slices.as_ref().map(Vec::len);
    commit.queued_ms = milliseconds(times.queued);
    if let Some(slices) = slices {
        if let Some(message) = objection(shared, node).await? {
            return stop_stage(shared, item, message, times).await;
        }
        let opened = Some((node.name.as_str(), slices.as_slice()));
        let expansion = expand(&shared.plan, &shared.sources, opened, shared.catalog.as_ref()).await?;
        commit.opened = Some((slices, expansion.batch));
    }
    shared.limits.spend(commit.wall_ms, commit.cost);
    match commit_patiently(shared, &commit).await {
        Err(CatalogError::DiskFull(message)) => {
            Ok(Verdict::StopRun(format!("no space left for the catalog: {message}")))
        }
        Err(error) => Err(error.into()),
        Ok(CommitOutcome::LeaseLost) => {
            let (node, shard_index) = (node.name.clone(), item.key.shard_index);
            shared.emit(&Event::LeaseLost { node, shard_index });
            Ok(Verdict::Returned)
        }
        Ok(CommitOutcome::Committed) => {
            committed(shared, node, item, &commit, (n_rejected, n_opened)).await?;
            Ok(Verdict::Committed)
        }
    }
}

async fn commit_patiently(shared: &Shared, commit: &Commit) -> Result<CommitOutcome, CatalogError> {
    let mut tries = 0;
    loop {
        match shared.catalog.commit(commit).await {
            Err(CatalogError::Transient(message)) if tries + 1 < COMMIT_TRIES => {
                tracing::warn!("commit: {message}; tried again");
                tokio::time::sleep(Duration::from_millis(100 << tries)).await;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn committed(
    shared: &Shared,
    node: &PlanNode,
    item: &WorkItem,
    commit: &Commit,
    (n_rejected, n_opened): (u64, Option<usize>),
) -> Result<(), RunError> {
    shared.limits.count(&node.name, commit.counts);
    shared.emit(&Event::Committed {
        node: node.name.clone(),
        shard_index: item.key.shard_index,
        rows: commit.counts,
        n_out: commit.files.first().map_or(0, |file| file.n_rows),
        n_rejected,
        wall_ms: commit.wall_ms,
    });
    let is_journaled = matches!(&node.decl.work, Work::Rows(work) if work.journaled()) || item.n_deaths > 0;
    if is_journaled && item.key.shard_index != OPENING {
        Journals::of(shared.site(), node, item).remove(shared.site());
    }
    if let Some(n_shards) = n_opened {
        shared.emit(&Event::Opened { node: node.name.clone(), n_shards: n_shards as u64 });
        let n_barriers = shared.plan.nodes.iter().filter(|node| matches!(node.decl.bounds, Bounds::Barrier(_))).count();
        if n_barriers > 1 {
            // Two barriers that open at once know nothing of each other's shards; what hangs on both is laid now.
            let expansion = expand(&shared.plan, &shared.sources, None, shared.catalog.as_ref()).await?;
            shared.catalog.apply_plan(&shared.record, &expansion.batch).await?;
        }
    }
    Ok(())
}

async fn fail(
    shared: &Shared,
    node: &PlanNode,
    item: &WorkItem,
    error: WorkError,
    times: Times,
) -> Result<Verdict, RunError> {
    let (name, shard_index) = (node.name.clone(), item.key.shard_index);
    let message = error.to_string();
    match error {
        WorkError::Cancelled => {
            give_up(shared, item, AttemptOutcome::Released, message, times).await?;
            Ok(Verdict::Returned)
        }
        WorkError::Transient(_) if item.n_tries + 1 < node.settings.max_tries => {
            let after_ms = back_off_ms(item);
            shared.emit(&Event::Retrying { node: name, shard_index, after_ms, message: message.clone() });
            give_up(shared, item, AttemptOutcome::Retry { after_ms }, message, times).await?;
            Ok(Verdict::Returned)
        }
        WorkError::Transient(_) => {
            let message = format!("{message} (tried {} times)", item.n_tries + 1);
            shared.emit(&Event::Failed { node: name, shard_index, message: message.clone() });
            give_up(shared, item, AttemptOutcome::Failed, message, times).await?;
            Ok(Verdict::Returned)
        }
        WorkError::Unavailable(_) => {
            give_up(shared, item, AttemptOutcome::Released, message.clone(), times).await?;
            Ok(Verdict::WaitStage(message))
        }
        WorkError::OutOfMemory(_) => {
            let own = match &node.decl.work {
                Work::Rows(work) => u32::try_from(work.batch_rows()).unwrap_or(u32::MAX),
                Work::Whole(_) => return stop_stage(shared, item, message, times).await,
            };
            let micro_batch = (item.micro_batch.map_or(own, |micro| micro.min(own)) / 2).max(1);
            shared.emit(&Event::Retrying { node: name, shard_index, after_ms: 0, message: message.clone() });
            give_up(shared, item, AttemptOutcome::Shrink { micro_batch }, message, times).await?;
            Ok(Verdict::Returned)
        }
        WorkError::Damaged { shard_id, path, message } => {
            shared.emit(&Event::Damaged { path: path.clone(), message: message.clone() });
            let reason = format!("{path}: {message}");
            let shard_id = match &item.slice {
                Some(slice) if slice.path == path => opening_of(shared, node).await?,
                _ => Some(shard_id),
            };
            let Some(shard_id) = shard_id else {
                // A source's listing is made anew at the start of each run.
                give_up(shared, item, AttemptOutcome::Released, reason.clone(), times).await?;
                return Ok(Verdict::StopRun(reason));
            };
            give_up(shared, item, AttemptOutcome::Released, reason.clone(), times).await?;
            shared.catalog.invalidate(shard_id, &reason).await?;
            Ok(Verdict::Returned)
        }
        WorkError::Dropped { shards, .. } => {
            let n_shards = shards.len() as u64;
            shared.emit(&Event::PicturesNeeded { node: name, n_shards, message: message.clone() });
            give_up(shared, item, AttemptOutcome::Released, message.clone(), times).await?;
            for shard_id in shards {
                shared.catalog.invalidate(shard_id, &message).await?;
            }
            Ok(Verdict::Returned)
        }
        WorkError::DiskFull(_) => {
            give_up(shared, item, AttemptOutcome::Released, message.clone(), times).await?;
            Ok(Verdict::StopRun(message))
        }
        WorkError::Systemic(_) | WorkError::Poison { .. } => stop_stage(shared, item, message, times).await,
    }
}

async fn stop_stage(shared: &Shared, item: &WorkItem, message: String, times: Times) -> Result<Verdict, RunError> {
    give_up(shared, item, AttemptOutcome::Failed, message.clone(), times).await?;
    Ok(Verdict::StopStage(message))
}

/// Why nothing may be made of what a barrier has listed.
async fn objection(shared: &Shared, node: &PlanNode) -> Result<Option<String>, CatalogError> {
    let Bounds::Barrier(lister) = &node.decl.bounds else { return Ok(None) };
    let mut quarantined = shared.catalog.quarantine().await?;
    quarantined.retain(|entry| node.reads.iter().any(|read| read.from.contains(&entry.node)));
    Ok(lister.objection(&quarantined))
}

/// The item that made the listing of a barrier node.
async fn opening_of(shared: &Shared, node: &PlanNode) -> Result<Option<i64>, RunError> {
    let shards = shared.catalog.shards(Some(&node.name)).await?;
    Ok(shards.iter().find(|shard| shard.key.shard_index == OPENING).map(|shard| shard.shard_id))
}

async fn give_up(
    shared: &Shared,
    item: &WorkItem,
    outcome: AttemptOutcome,
    message: String,
    times: Times,
) -> Result<(), RunError> {
    let (queued_ms, wall_ms, cost) = (milliseconds(times.queued), milliseconds(times.took), Cost::default());
    shared.limits.spend(wall_ms, cost);
    let end = AttemptEnd { shard_id: item.shard_id, token: item.token, outcome, message, queued_ms, wall_ms, cost };
    match shared.catalog.give_up(&end).await {
        // The lease ends by itself.
        Err(CatalogError::DiskFull(message) | CatalogError::Transient(message)) => {
            tracing::warn!("the end of an attempt could not be recorded: {message}");
            Ok(())
        }
        ended => Ok(ended?),
    }
}

/// Doubled with each try, and spread, so that shards that failed together do not come back together.
fn back_off_ms(item: &WorkItem) -> u64 {
    let full = BACK_OFF_MS.saturating_mul(1 << item.n_tries.min(16)).min(MAX_BACK_OFF_MS);
    let spread =
        Hasher::new("back-off/v1").number("shard", item.shard_id.unsigned_abs()).number("token", item.token).draw();
    full / 2 + spread % (full / 2 + 1)
}
