//! Pulls work items under leases, and keeps the workers of this process busy until nothing is left.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::RunError;
use super::event::Event;
use super::heartbeat::Lease;
use super::item;
use super::limits::Spent;
use super::queue::Queue;
use super::report::{Ending, RunReport};
use super::settle::{Ended, Settled, Times, Verdict, settle};
use super::shared::Shared;
use super::watch::Watch;
use crate::catalog::{AttemptEnd, AttemptOutcome, ClaimRequest, NodeProgress, WorkItem};
use crate::plan::{Plan, PlanNode};
use crate::stage::{Cost, WorkError};

/// How often this process looks for a stop, a hung batch, a budget.
const TICK: Duration = Duration::from_millis(100);
/// How long it waits at most before it asks again for work that others may have made ready.
const MAX_IDLE: Duration = Duration::from_millis(500);
/// How often the whole project's spending is read where there is a budget.
const LEDGER: Duration = Duration::from_secs(5);
/// Commits on their way, for each worker.
const COMMITS: usize = 16;

/// The workers of this process.
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    lease: Arc<Lease>,
    epoch: u64,
    queue: Queue,
    /// Node and stage, those first from which the way to the end of the plan is longest: of what is equally deep they are
    /// begun first, so that nobody waits for them in the end.
    nodes: Vec<(String, String)>,
    attempts: JoinSet<Result<Settled, RunError>>,
    /// One for each item that is computed; a commit needs none.
    permits: Arc<Semaphore>,
    /// Told when a permit is free again.
    freed: Arc<Notify>,
    /// Stages of which nothing works.
    stopped: BTreeMap<String, String>,
    /// Stages that need what is not there now.
    waiting: BTreeMap<String, String>,
    ending: Option<Ending>,
    /// When the catalog last had no work.
    quiet_since: Option<Instant>,
    /// Whether it has no more short work than is under way.
    is_dry: bool,
    ledger_read: Instant,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>, lease: Arc<Lease>) -> Self {
        Self {
            epoch: lease.epoch(),
            lease,
            queue: Queue::new(&shared.plan),
            nodes: longest_first(&shared.plan),
            attempts: JoinSet::new(),
            permits: Arc::new(Semaphore::new(shared.options.workers.max(1))),
            freed: Arc::new(Notify::new()),
            stopped: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ending: None,
            quiet_since: None,
            is_dry: false,
            ledger_read: Instant::now(),
            shared,
        }
    }

    /// Works until nothing is left, or a stop.
    pub(super) async fn run(mut self) -> Result<RunReport, RunError> {
        loop {
            self.look_around().await?;
            if self.ending.is_none() {
                self.fill().await?;
            }
            if !self.attempts.is_empty() {
                self.wait().await?;
            } else if self.ending.is_some() {
                break;
            } else {
                self.ending = self.idle().await?;
            }
        }
        let nodes = self.shared.catalog.progress().await?;
        let ending = self.ending.unwrap_or(Ending::Done);
        let (stopped, waiting) = (self.stopped.into_iter().collect(), self.waiting.into_iter().collect());
        Ok(RunReport { ending, stopped, waiting, nodes })
    }

    /// Whether something says that no new work may begin.
    async fn look_around(&mut self) -> Result<(), RunError> {
        if self.lease.epoch() != self.epoch {
            self.epoch = self.lease.epoch();
            self.queue.clear();
        }
        if self.ending.is_some() {
            return Ok(());
        }
        if self.shared.cancel.is_cancelled() {
            self.stop(Ending::Interrupted, "interrupted");
        } else if let Some(reason) = self.lease.over() {
            self.stop(Ending::Transient(reason.clone()), &reason);
        } else if self.shared.limits.has_budget() {
            if self.ledger_read.elapsed() > LEDGER {
                self.shared.limits.set_spent(Spent::of(&self.shared.catalog.ledger().await?));
                self.ledger_read = Instant::now();
            }
            if let Some(reason) = self.shared.limits.over_budget() {
                self.stop(Ending::Budget(reason.clone()), &reason);
            }
        }
        Ok(())
    }

    fn stop(&mut self, ending: Ending, reason: &str) {
        self.shared.emit(&Event::Stopping { reason: reason.to_owned() });
        self.ending = Some(ending);
        // What was leased and not begun goes back when this worker departs.
        self.queue.clear();
    }

    /// Begins items while there are free workers.
    async fn fill(&mut self) -> Result<(), RunError> {
        let workers = self.shared.options.workers.max(1);
        loop {
            if self.attempts.len() >= workers * COMMITS {
                return Ok(());
            }
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return self.lease_ahead().await };
            if let Some((item, queued)) = self.queue.begin() {
                self.begin(item, queued, permit);
                continue;
            }
            drop(permit);
            if self.quiet_since.is_some_and(|since| since.elapsed() < TICK) {
                return Ok(());
            }
            let items = self.claim().await?;
            self.quiet_since = items.is_empty().then(Instant::now);
            if items.is_empty() {
                return Ok(());
            }
            self.queue.extend(items);
        }
    }

    /// Leases short items while all workers are busy, so that none of them waits for the catalog.
    async fn lease_ahead(&mut self) -> Result<(), RunError> {
        let limit = self.queue.ahead(self.shared.options.workers.max(1));
        if limit == 0 || self.is_dry {
            return Ok(());
        }
        let mut short = self.wanted();
        short.retain(|node| self.queue.is_short(node) && !self.runs_few(node));
        let items = self.ask(short, limit).await?;
        self.is_dry = items.is_empty();
        self.queue.extend(items);
        Ok(())
    }

    /// The nodes that this process works on.
    fn wanted(&self) -> Vec<String> {
        let only = self.shared.options.stage.as_ref();
        let nodes = self.nodes.iter();
        nodes
            .filter(|(_, stage)| only.is_none_or(|only| stage == only) && !self.is_over(stage))
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Whether the manifest limits how many items of the node's stage run at once.
    fn runs_few(&self, node: &str) -> bool {
        self.shared.plan.node(node).is_some_and(|node| node.settings.resources.parallel.is_some())
    }

    /// Leases items for the free workers.
    async fn claim(&self) -> Result<Vec<WorkItem>, RunError> {
        let (limited, nodes): (Vec<String>, Vec<String>) =
            self.wanted().into_iter().partition(|node| self.runs_few(node));
        let mut items = Vec::new();
        // A stage that runs few items at once must not fill the queue: it is claimed one by one.
        for node in limited.into_iter().filter(|node| self.queue.wants(node)) {
            items.extend(self.ask(vec![node], 1).await?);
        }
        let n_free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        items.extend(self.ask(nodes, n_free.max(1)).await?);
        Ok(items)
    }

    async fn ask(&self, nodes: Vec<String>, limit: u32) -> Result<Vec<WorkItem>, RunError> {
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let (worker, part) = (self.lease.worker(), self.shared.options.part);
        Ok(self.shared.catalog.claim(&ClaimRequest { worker, nodes, limit, part }).await?)
    }

    fn begin(&mut self, item: WorkItem, queued: Duration, permit: OwnedSemaphorePermit) {
        let (shared, freed) = (Arc::clone(&self.shared), Arc::clone(&self.freed));
        self.attempts.spawn(async move {
            let began = Instant::now();
            let ended = attempt(&shared, &item).await;
            let took = began.elapsed();
            drop(permit);
            freed.notify_one();
            let verdict = settle(&shared, &item, ended, Times { queued, took }).await?;
            Ok(Settled { node: item.key.node, took, verdict })
        });
    }

    /// Waits for an attempt to end, a worker to be free, or the next look around.
    async fn wait(&mut self) -> Result<(), RunError> {
        let first = tokio::select! {
            ended = self.attempts.join_next() => ended,
            () = self.freed.notified() => None,
            () = tokio::time::sleep(TICK) => None,
        };
        let mut next = first;
        while let Some(ended) = next {
            self.take(ended).await?;
            next = self.attempts.try_join_next();
        }
        Ok(())
    }

    async fn take(&mut self, ended: Result<Result<Settled, RunError>, JoinError>) -> Result<(), RunError> {
        let settled = ended.map_err(|error| RunError::Internal(format!("an attempt ended badly: {error}")))??;
        self.queue.end(&settled.node, settled.took);
        match settled.verdict {
            Verdict::Committed => (self.quiet_since, self.is_dry) = (None, false),
            Verdict::Returned => {}
            Verdict::StopStage(message) => self.stop_stage(&settled.node, message, false).await?,
            Verdict::WaitStage(message) => self.stop_stage(&settled.node, message, true).await?,
            Verdict::StopRun(message) => {
                if self.ending.is_none() {
                    self.stop(Ending::Transient(message.clone()), &message);
                }
            }
        }
        Ok(())
    }

    /// Whether nothing more of the stage is done in this run.
    fn is_over(&self, stage: &str) -> bool {
        self.stopped.contains_key(stage) || self.waiting.contains_key(stage)
    }

    /// Nothing of a stage works, for good or for now: what is leased of it goes back.
    async fn stop_stage(&mut self, node: &str, message: String, is_for_now: bool) -> Result<(), RunError> {
        let Some(stage) = self.shared.plan.node(node).map(|node| node.stage.clone()) else { return Ok(()) };
        if self.is_over(&stage) {
            return Ok(());
        }
        let (name, text) = (stage.clone(), message.clone());
        self.shared.emit(&match is_for_now {
            true => Event::Waiting { stage: name, message: text },
            false => Event::Stopped { stage: name, message: text },
        });
        for item in self.queue.remove_stage(&stage) {
            let end = AttemptEnd {
                shard_id: item.shard_id,
                token: item.token,
                outcome: AttemptOutcome::Released,
                message: "its stage was stopped".to_owned(),
                queued_ms: 0,
                wall_ms: 0,
                cost: Cost::default(),
            };
            self.shared.catalog.give_up(&end).await?;
        }
        let over = if is_for_now { &mut self.waiting } else { &mut self.stopped };
        over.insert(stage, message);
        Ok(())
    }

    /// Nothing runs here and nothing could be leased: whether that is the end.
    async fn idle(&mut self) -> Result<Option<Ending>, RunError> {
        let progress = self.shared.catalog.progress().await?;
        let wanted = self.wanted();
        let own: Vec<&NodeProgress> = progress.iter().filter(|node| wanted.contains(&node.node)).collect();
        let n_running: u64 = progress.iter().map(|node| node.n_running).sum();
        if own.iter().all(|node| node.n_pending + node.n_running == 0) {
            return Ok(Some(Ending::Done));
        }
        if let Some((part, n_parts)) = self.shared.options.part
            && self.part_is_done(&wanted, part, n_parts).await?
        {
            return Ok(Some(Ending::Done));
        }
        let next_ready = own.iter().filter_map(|node| node.next_ready_ms).min();
        let wait = match next_ready {
            // Ready, but not for us: it belongs to another part, and nobody makes it.
            Some(0) if self.shared.options.part.is_some() && n_running == 0 => None,
            Some(ms) => Some(Duration::from_millis(ms).clamp(Duration::from_millis(5), MAX_IDLE)),
            None => (n_running > 0).then_some(MAX_IDLE / 2),
        };
        let Some(wait) = wait else {
            let waiting: Vec<String> = own
                .iter()
                .filter(|node| node.n_pending > 0)
                .map(|node| format!("{} of {}", node.n_pending, node.node))
                .collect();
            return Ok(Some(Ending::Blocked(format!("shards wait for what is not made: {}", waiting.join(", ")))));
        };
        self.quiet_since = None;
        tokio::time::sleep(wait).await;
        Ok(None)
    }

    /// Whether the shards of our part are all made or given up.
    async fn part_is_done(&self, wanted: &[String], part: u32, n_parts: u32) -> Result<bool, RunError> {
        use crate::catalog::ShardState::{Pending, Running};
        for node in wanted {
            let is_left = self.shared.catalog.shards(Some(node)).await?.iter().any(|shard| {
                let index = shard.key.shard_index.max(0);
                matches!(shard.state, Pending | Running) && index % i64::from(n_parts.max(1)) == i64::from(part)
            });
            if is_left {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The nodes of `plan` and their stages, in the order in which equally deep ones are begun.
fn longest_first(plan: &Plan) -> Vec<(String, String)> {
    let ways = plan.ways_left();
    let mut nodes: Vec<&PlanNode> = plan.nodes.iter().collect();
    nodes.sort_by_key(|node| Reverse(ways.get(node.name.as_str()).copied()));
    nodes.into_iter().map(|node| (node.name.clone(), node.stage.clone())).collect()
}

/// Makes the shard on a thread of its own, and gives that thread up when a batch does not end.
async fn attempt(shared: &Arc<Shared>, item: &WorkItem) -> Ended {
    let watch = Arc::new(Watch::default());
    let mut work = tokio::task::spawn_blocking({
        let (shared, item, watch) = (Arc::clone(shared), item.clone(), Arc::clone(&watch));
        move || {
            let node = shared.plan.node(&item.key.node);
            let node = node.ok_or_else(|| WorkError::Systemic(format!("{} is not in the plan", item.key.node)))?;
            item::make(shared.site(), node, &item, &watch)
        }
    });
    loop {
        tokio::select! {
            made = &mut work => return match made {
                Ok(Ok(made)) => Ended::Made(Box::new(made)),
                Ok(Err(error)) => Ended::Failed(error),
                Err(error) => Ended::Failed(WorkError::Systemic(format!("the stage broke down: {error}"))),
            },
            () = tokio::time::sleep(TICK) => {
                if let Some(deadline) = watch.overdue() {
                    return Ended::Hung(deadline);
                }
            }
        }
    }
}
