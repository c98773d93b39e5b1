//! The catalog on SQLite: one file beside the manifest, for any number of processes on one host.
//!
//! Everything written goes through one task ([`writer`]) and one connection; what is read comes from a small pool.

mod claim;
mod commit;
mod compact;
mod convert;
mod effect;
mod error;
mod filesystem;
mod look;
mod open;
mod plan;
mod record;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cafe_pipeline::catalog::{
    Adoption, AttemptEnd, Catalog, ClaimRequest, Commit, CommitOutcome, CommittedCounts, Compaction, EventRecord,
    LedgerEntry, LineageEntry, ListingSlice, LiveWorker, NodeProgress, PlanApplied, PlanRecord, QuarantineEntry, Rate,
    ReleaseRecord, Result, RunEnd, RunId, RunRecord, ShardBatch, ShardKey, ShardStatus, SharedCatalog, WorkItem,
    WorkerId, WorkerRecord,
};
use cafe_pipeline::failpoint::{self, FailPoint};
use cafe_pipeline::stage::InputShard;
use sqlx::SqlitePool;

use self::plan::BatchText;
use self::writer::{Kind, Writer};

/// Opens the catalog in the file at `path`.
pub(crate) async fn open(path: &Path) -> Result<SharedCatalog> {
    let connections = open::connect(path).await?;
    let writer = Writer::start(connections.writer);
    Ok(Arc::new(SqliteCatalog { writer, readers: connections.readers }))
}

struct SqliteCatalog {
    writer: Writer,
    readers: SqlitePool,
}

/// Has the writer run `$operation` with the arguments, which it shares: it may have to run it again.
macro_rules! write {
    ($catalog:ident, $operation:path $(, $argument:ident)*) => {
        write!($catalog, Kind::Other, $operation $(, $argument)*)
    };
    ($catalog:ident, $kind:expr, $operation:path $(, $argument:ident)*) => {{
        $(let $argument = Arc::new($argument.to_owned());)*
        $catalog
            .writer
            .run($kind, move |connection| {
                $(let $argument = Arc::clone(&$argument);)*
                Box::pin(async move { $operation(connection $(, &$argument)*).await })
            })
            .await
    }};
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn apply_plan(&self, plan: &PlanRecord, batch: &ShardBatch) -> Result<PlanApplied> {
        failpoint::pass(FailPoint::PlanApplying);
        let batch = &BatchText::new(batch)?;
        let applied = write!(self, plan::apply, plan, batch)?;
        failpoint::pass(FailPoint::PlanApplied);
        Ok(applied)
    }

    async fn current_plan(&self) -> Result<Option<PlanRecord>> {
        plan::current(&self.readers).await
    }

    async fn find_committed(&self, shards: &[ShardKey]) -> Result<Vec<Option<CommittedCounts>>> {
        plan::find_committed(&self.readers, shards).await
    }

    async fn find_opening(&self, key: &ShardKey) -> Result<Option<Vec<ListingSlice>>> {
        plan::find_opening(&self.readers, key).await
    }

    async fn begin_run(&self, run: &RunRecord) -> Result<RunId> {
        write!(self, worker::begin_run, run)
    }

    async fn end_run(&self, run: RunId, end: &RunEnd) -> Result<()> {
        failpoint::pass(FailPoint::RunEnding);
        write!(self, worker::end_run, run, end)
    }

    async fn adoptions(&self) -> Result<Vec<Adoption>> {
        record::adoptions(&self.readers).await
    }

    async fn adopt(&self, adoption: &Adoption) -> Result<()> {
        write!(self, record::adopt, adoption)
    }

    async fn register_worker(&self, worker: &WorkerRecord) -> Result<WorkerId> {
        write!(self, worker::register, worker)
    }

    async fn heartbeat(&self, worker: WorkerId) -> Result<bool> {
        failpoint::pass(FailPoint::HeartbeatSending);
        let alive = write!(self, worker::heartbeat, worker)?;
        failpoint::pass(FailPoint::HeartbeatSent);
        Ok(alive)
    }

    async fn reap(&self, gone: &[WorkerId]) -> Result<u64> {
        write!(self, worker::reap, gone)
    }

    async fn workers(&self) -> Result<Vec<LiveWorker>> {
        worker::list(&self.readers).await
    }

    async fn depart(&self, worker: WorkerId) -> Result<()> {
        write!(self, worker::depart, worker)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<WorkItem>> {
        failpoint::pass(FailPoint::LeaseTaking);
        let items = write!(self, claim::claim, request)?;
        failpoint::pass(FailPoint::LeaseTaken);
        Ok(items)
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        let opened = &commit.opened.as_ref().map(|(_, batch)| BatchText::new(batch)).transpose()?;
        write!(self, Kind::ShardCommit, commit::commit, commit, opened)
    }

    async fn compact(&self, compaction: &Compaction) -> Result<bool> {
        write!(self, Kind::Compaction, compact::compact, compaction)
    }

    async fn give_up(&self, end: &AttemptEnd) -> Result<()> {
        write!(self, commit::give_up, end)
    }

    async fn invalidate(&self, shard_id: i64, reason: &str) -> Result<()> {
        write!(self, commit::invalidate, shard_id, reason)
    }

    async fn progress(&self) -> Result<Vec<NodeProgress>> {
        look::progress(&self.readers).await
    }

    async fn shards(&self, node: Option<&str>) -> Result<Vec<ShardStatus>> {
        look::shards(&self.readers, node).await
    }

    async fn files(&self) -> Result<Vec<InputShard>> {
        look::files(&self.readers).await
    }

    async fn known_paths(&self) -> Result<Vec<String>> {
        look::known_paths(&self.readers).await
    }

    async fn quarantine(&self) -> Result<Vec<QuarantineEntry>> {
        look::quarantine(&self.readers).await
    }

    async fn quarantine_of(&self, shards: &[ShardKey]) -> Result<Vec<QuarantineEntry>> {
        look::quarantine_of(&self.readers, shards).await
    }

    async fn ledger(&self) -> Result<Vec<LedgerEntry>> {
        look::ledger(&self.readers).await
    }

    async fn rates(&self) -> Result<Vec<Rate>> {
        look::rates(&self.readers).await
    }

    async fn releases(&self) -> Result<Vec<ReleaseRecord>> {
        record::releases(&self.readers).await
    }

    async fn releases_with(&self, quadruplet_id: &str) -> Result<Vec<String>> {
        record::releases_with(&self.readers, quadruplet_id).await
    }

    async fn lineage(&self, shard_id: i64) -> Result<Vec<LineageEntry>> {
        look::lineage(&self.readers, shard_id).await
    }

    async fn record_events(&self, events: &[EventRecord]) -> Result<()> {
        write!(self, record::record_events, events)
    }

    async fn events(&self, limit: u32) -> Result<Vec<EventRecord>> {
        record::events(&self.readers, limit).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
