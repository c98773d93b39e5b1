//! Makes the shards of a plan, each exactly once, whatever dies in between.
//!
//! Any number of processes work on one catalog at once. Each pulls work items under leases ([`dispatcher`]), makes files
//! that nobody else can name ([`item`], [`rows`]), and commits them in one transaction ([`settle`]). What a dead process
//! held goes back when its lease ends, or at once where the process is known to be gone ([`heartbeat`]). Rows of costly
//! stages outlive their attempt in a [`journal`]; rows that kill their process are found in processes of their own
//! ([`isolate`]). What nothing needs any more goes at the end: pictures of rejected rows ([`compact`]), then files ([`sweep`]).

mod child;
mod compact;
mod dispatcher;
mod event;
mod heartbeat;
mod host;
mod isolate;
mod item;
mod journal;
mod limits;
mod onlooker;
mod queue;
mod report;
mod rows;
mod settle;
mod shared;
mod sweep;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use child::work_isolated;
pub use event::{Event, Sink};
pub use isolate::{IsolateCommand, IsolateRequest, read_request};
pub use onlooker::Onlooker;
pub use report::{Ending, RunReport};
use shared::Shared;

use crate::catalog::{CatalogError, EventRecord, ListingSlice, PlanApplied, RunEnd, RunRecord, SharedCatalog};
use crate::plan::{Listing, Plan, Sample, expand, list_sources, slices};
use crate::stage::{Cancel, WorkError};
use crate::storage::Storage;

/// A plan with the places where it is carried out.
#[derive(Clone)]
pub struct Project {
    /// What is to be made.
    pub plan: Arc<Plan>,
    /// Who knows what was made.
    pub catalog: SharedCatalog,
    /// Where it lies.
    pub storage: Arc<dyn Storage>,
}

/// How a run is carried out. Nothing here changes a byte of the dataset, but for [`Self::sample`], which makes another.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Work items at once in this process.
    pub workers: usize,
    /// How long a worker that is not heard of keeps its leases.
    pub lease: Duration,
    /// One stage only; all when left out.
    pub stage: Option<String>,
    /// `(i, n)`: only shards with `index % n == i`.
    pub part: Option<(u32, u32)>,
    /// A preview of so many rows.
    pub sample: Option<Sample>,
    /// How to start a process for rows that kill theirs; without, such a shard kills again and again.
    pub isolate: Option<IsolateCommand>,
    /// Who sees what was made before it is committed.
    pub onlooker: Option<Arc<dyn Onlooker>>,
    /// Version of the program, for the record.
    pub version: String,
    /// The command line, for the record.
    pub command: Vec<String>,
}

/// Why a run could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A source cannot be listed.
    #[error("cannot list the source of {node}: {error}")]
    Listing {
        /// The node.
        node: String,
        /// Why.
        error: WorkError,
    },
    /// A defect.
    #[error("{0}")]
    Internal(String),
}

/// Carries out the plan: lists the sources, brings the catalog up to date, and makes what is missing. The same call
/// after any crash goes on where that one stood.
///
/// # Errors
/// See [`RunError`]. Faults of shards and rows are not errors, but part of the report.
pub async fn run(project: &Project, options: RunOptions, cancel: Cancel, sink: Sink) -> Result<RunReport, RunError> {
    let catalog = &project.catalog;
    let identity = host::Identity::own();
    let n_reaped = catalog.reap(&heartbeat::gone(catalog, &identity).await?).await?;
    if n_reaped > 0 {
        sink(&Event::Reaped { n_shards: n_reaped });
    }
    let listings = prepare_sources(project, options.sample).await?;
    let sources = slices_of(&project.plan, &listings);
    let record = project.plan.record(&listings);
    let expansion = expand(&project.plan, &sources, None, catalog.as_ref()).await?;
    let PlanApplied { n_committed, n_pending, n_retired } = catalog.apply_plan(&record, &expansion.batch).await?;
    sink(&Event::Planned { n_committed, n_pending, n_retired });

    let run = RunRecord {
        plan: record.fingerprint,
        version: options.version.clone(),
        command: options.command.clone(),
        host: identity.host.clone(),
    };
    let run = catalog.begin_run(&run).await?;
    let limits = limits::Limits::new(
        project.plan.manifest.budget.clone(),
        limits::Spent::of(&catalog.ledger().await?),
        &catalog.progress().await?,
    );
    let shared = Arc::new(Shared::new(project, options, sources, record, limits, cancel, sink));
    let heart = heartbeat::Heart::start(Arc::clone(&shared), identity, run).await?;
    let dispatched = dispatcher::Dispatcher::new(Arc::clone(&shared), heart.lease()).run().await;
    let mut report = match dispatched {
        Ok(report) => report,
        Err(error) => {
            heart.stop().await;
            return Err(error);
        }
    };
    match compact::compact(&shared, heart.lease().worker()).await {
        Ok(0) => {}
        Ok(_) => report.nodes = catalog.progress().await?,
        Err(error) => tracing::warn!("pictures of rejects could not be dropped: {error}; the next run tries again"),
    }
    if let Err(error) = sweep::sweep(&shared, heart.lease().worker(), &report).await {
        tracing::warn!("files that are not needed any more could not be removed: {error}; the next run tries again");
    }
    heart.stop().await;
    let end = RunEnd { outcome: report.ending.name().to_owned(), exit_code: report.exit_code() };
    catalog.record_events(&shared.take_records(run)).await?;
    catalog.end_run(run, &end).await?;
    Ok(report)
}

/// Lists the sources, and makes the listings durable.
///
/// # Errors
/// When a source cannot be read, or the listing not be written.
pub async fn prepare_sources(project: &Project, sample: Option<Sample>) -> Result<BTreeMap<String, Listing>, RunError> {
    let (plan, storage) = (Arc::clone(&project.plan), Arc::clone(&project.storage));
    let listed = tokio::task::spawn_blocking(move || {
        let listings = list_sources(&plan, &storage, sample)?;
        for (node, listing) in &listings {
            listing.store(storage.as_ref()).map_err(|error| (node.clone(), error))?;
        }
        Ok(listings)
    });
    listed
        .await
        .map_err(|error| RunError::Internal(error.to_string()))?
        .map_err(|(node, error)| RunError::Listing { node, error })
}

/// The slices of each source.
#[must_use]
pub fn slices_of(plan: &Plan, listings: &BTreeMap<String, Listing>) -> BTreeMap<String, Vec<ListingSlice>> {
    let slices = |(name, listing): (&String, &Listing)| Some((name.clone(), slices(plan.node(name)?, listing)));
    listings.iter().filter_map(slices).collect()
}

/// An event worth keeping, as the catalog keeps it.
fn record_of(event: &Event) -> Option<EventRecord> {
    let is_kept = matches!(
        event,
        Event::Planned { .. }
            | Event::Reaped { .. }
            | Event::Failed { .. }
            | Event::Damaged { .. }
            | Event::PicturesNeeded { .. }
            | Event::PicturesDropped { .. }
            | Event::Isolated { .. }
            | Event::LeaseLost { .. }
            | Event::Stopped { .. }
            | Event::Waiting { .. }
            | Event::Stopping { .. }
    );
    let mut detail = serde_json::to_value(event).ok().filter(|_| is_kept)?;
    let kind = detail.as_object_mut()?.remove("event")?;
    Some(EventRecord { at_ms: 0, run: None, kind: kind.as_str()?.to_owned(), detail })
}
