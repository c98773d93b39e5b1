//! Keeps this process's leases alive, and takes back those of processes that are dead.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::event::Event;
use super::host::Identity;
use super::shared::Shared;
use crate::catalog::{CatalogError, RunId, SharedCatalog, WorkerId, WorkerRecord};

/// Under which worker this process holds leases now.
#[derive(Debug)]
pub(super) struct Lease {
    worker: AtomicI64,
    /// Grows when all leases were lost.
    epoch: AtomicU64,
    /// Set when this process may not go on, with the reason.
    is_over: AtomicBool,
    reason: Mutex<String>,
}

impl Lease {
    pub(super) fn worker(&self) -> WorkerId {
        self.worker.load(Ordering::Acquire)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Why this process may not go on.
    pub(super) fn over(&self) -> Option<String> {
        let is_over = self.is_over.load(Ordering::Acquire);
        is_over.then(|| self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn end(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        self.is_over.store(true, Ordering::Release);
    }
}

/// The task that beats.
pub(super) struct Heart {
    lease: Arc<Lease>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Heart {
    /// Registers this process and begins to beat.
    pub(super) async fn start(shared: Arc<Shared>, identity: Identity, run: RunId) -> Result<Self, CatalogError> {
        let record = WorkerRecord {
            host: identity.host.clone(),
            boot_id: identity.boot_id.clone(),
            pid: identity.pid,
            pid_start: identity.pid_start,
            plan: shared.record.fingerprint,
            run,
            lease_ms: u64::try_from(shared.options.lease.as_millis()).unwrap_or(u64::MAX),
        };
        let worker = shared.catalog.register_worker(&record).await?;
        let lease = Arc::new(Lease {
            worker: AtomicI64::new(worker),
            epoch: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            reason: Mutex::default(),
        });
        let task = tokio::spawn(beat(Arc::clone(&shared), identity, record, Arc::clone(&lease)));
        Ok(Self { lease, shared, task })
    }

    pub(super) fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    /// Gives back what is still leased.
    pub(super) async fn stop(self) {
        self.task.abort();
        if let Err(error) = self.shared.catalog.depart(self.lease.worker()).await {
            tracing::warn!("leases could not be given back ({error}); they end by themselves");
        }
    }
}

async fn beat(shared: Arc<Shared>, identity: Identity, record: WorkerRecord, lease: Arc<Lease>) {
    let period = (shared.options.lease / 3).max(Duration::from_millis(10));
    loop {
        tokio::time::sleep(period).await;
        if let Err(error) = beat_once(&shared, &identity, &record, &lease).await {
            match error {
                // The next beat may come through; if none does, the leases end and the tokens protect the data.
                CatalogError::Transient(message) => tracing::warn!("heartbeat: {message}"),
                other => lease.end(other.to_string()),
            }
        }
    }
}

async fn beat_once(
    shared: &Shared,
    identity: &Identity,
    record: &WorkerRecord,
    lease: &Lease,
) -> Result<(), CatalogError> {
    if !shared.catalog.heartbeat(lease.worker()).await? {
        // Frozen, or cut off, for longer than the lease: others have taken over what was leased.
        tracing::warn!("this process was taken for dead; it goes on with new leases");
        let worker = match shared.catalog.register_worker(record).await {
            Err(CatalogError::Transient(message)) => {
                lease.end(message);
                return Ok(());
            }
            worker => worker?,
        };
        lease.worker.store(worker, Ordering::Release);
        lease.epoch.fetch_add(1, Ordering::AcqRel);
    }
    let n_shards = shared.catalog.reap(&gone(&shared.catalog, identity).await?).await?;
    if n_shards > 0 {
        shared.emit(&Event::Reaped { n_shards });
    }
    Ok(())
}

/// Workers of this host whose process has ended without saying so.
pub(super) async fn gone(catalog: &SharedCatalog, identity: &Identity) -> Result<Vec<WorkerId>, CatalogError> {
    let workers = catalog.workers().await?;
    Ok(workers.iter().filter(|worker| identity.knows_gone(worker)).map(|worker| worker.worker_id).collect())
}
