//! The side of a child that works through the batches of a shard of which processes died.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use super::RunOptions;
use super::isolate::{Fault, IsolateRequest, Report, tell};
use super::item::{Journals, context, first_input, milliseconds, row_run};
use super::journal::Writer;
use super::limits::Limits;
use super::rows::{Journaling, Observer};
use super::shared::{Caches, Site};
use crate::plan::Plan;
use crate::stage::{BatchOutcome, Cancel, Work, WorkError};
use crate::storage::Storage;

/// Of the memory that is available, so much is a child's: it must die before others do.
const MEMORY_SHARE: f64 = 0.6;

/// Works through `request` and reports to `out`; the process is expected to die of it. Ends by itself when its stdin
/// closes: then its parent is gone.
pub fn work_isolated(plan: &Plan, storage: &Arc<dyn Storage>, request: &IsolateRequest, out: &mut (dyn Write + Send)) {
    limit_memory();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = kill_process(getpid(), Signal::KILL);
    });
    let out = Mutex::new(out);
    let report = match work(plan, storage, request, &out) {
        Ok(()) => Report::Done,
        Err(error) => Report::Failed { error: Fault::from(error) },
    };
    tell(&mut **out.lock().unwrap_or_else(PoisonError::into_inner), &report);
}

fn work(
    plan: &Plan,
    storage: &Arc<dyn Storage>,
    request: &IsolateRequest,
    out: &Mutex<&mut (dyn Write + Send)>,
) -> Result<(), WorkError> {
    let item = &request.item;
    let node = plan.node(&item.key.node).filter(|node| node.fingerprint == request.fingerprint);
    let node = node.ok_or_else(|| {
        WorkError::Transient(format!("the manifest changed while {} was running: run it again", item.key.node))
    })?;
    let Work::Rows(work) = &node.decl.work else {
        return Err(WorkError::Systemic(format!("{} does not work row by row", node.name)));
    };
    let options = RunOptions {
        workers: 1,
        lease: Duration::MAX,
        stage: None,
        part: None,
        sample: None,
        isolate: None,
        onlooker: None,
        version: String::new(),
        command: Vec::new(),
    };
    let (cancel, limits, caches) = (Cancel::default(), Limits::default(), Caches::default());
    let site =
        Site { plan, storage, options: &options, limits: &limits, cancel: &cancel, listener: None, caches: &caches };
    let context = context(site, node, item, request.scratch.join("child"));
    let rows = first_input(site, node, item, &context, work.columns())?;
    let index = Journals::of(site, node, item).index(site, node, true)?;
    let teller = Teller { out };
    let mut run = row_run(node, work.as_ref(), &context, &rows, &teller);
    run.journal = Some(Journaling {
        storage: storage.as_ref(),
        index: &index,
        writer: Writer::new(storage.as_ref(), request.journal.clone()),
    });
    run.run(&request.batches)
}

/// Tells the parent which rows are at work.
struct Teller<'a, 'b> {
    out: &'a Mutex<&'b mut (dyn Write + Send)>,
}

impl Teller<'_, '_> {
    fn tell(&self, report: &Report) {
        tell(&mut **self.out.lock().unwrap_or_else(PoisonError::into_inner), report);
    }
}

impl Observer for Teller<'_, '_> {
    fn began(&self, rows: &[u32], deadline: Duration) {
        self.tell(&Report::Began { rows: rows.to_vec(), deadline_ms: milliseconds(deadline) });
    }

    fn ended(&self, n_finished: usize) {
        self.tell(&Report::Ended { n_finished });
    }

    fn journaled(&self, _outcome: &BatchOutcome) {}
}

/// Lets allocations fail before the system begins to kill.
fn limit_memory() {
    let kilobytes = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let available = kilobytes("/proc/meminfo", "MemAvailable:");
    let mapped = kilobytes("/proc/self/status", "VmSize:");
    let (Some(available), Some(mapped)) = (available, mapped) else { return };
    let limit = (mapped + (available as f64 * MEMORY_SHARE) as u64) * 1024;
    let old = getrlimit(Resource::As);
    let limit = old.maximum.map_or(limit, |maximum| limit.min(maximum));
    if let Err(error) = setrlimit(Resource::As, Rlimit { current: Some(limit), maximum: old.maximum }) {
        tracing::warn!("the memory of a child could not be limited: {error}");
    }
}
