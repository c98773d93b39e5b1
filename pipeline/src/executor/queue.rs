//! Leased work items that wait for a free worker of this process.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::catalog::WorkItem;
use crate::plan::Plan;

/// Leases are taken for about so much work at once: enough that their cost does not count, little enough that another
/// process finds work too.
const CHUNK: Duration = Duration::from_millis(250);
const MAX_CHUNK: u32 = 256;
/// Weight of the latest item in the average.
const NEW: f64 = 0.1;

/// Items leased and not begun, and how many of each stage are running.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<WorkItem>,
    running: BTreeMap<String, usize>,
    /// Stage → items at once, where the manifest limits them.
    limits: BTreeMap<String, usize>,
    stage_of: BTreeMap<String, String>,
    mean_secs: Option<f64>,
}

impl Queue {
    pub(super) fn new(plan: &Plan) -> Self {
        let limit =
            |node: &crate::plan::PlanNode| Some((node.stage.clone(), node.settings.resources.parallel? as usize));
        Self {
            limits: plan.nodes.iter().filter_map(limit).collect(),
            stage_of: plan.nodes.iter().map(|node| (node.name.clone(), node.stage.clone())).collect(),
            ..Self::default()
        }
    }

    pub(super) fn extend(&mut self, items: Vec<WorkItem>) {
        self.items.extend(items);
    }

    /// Forgets what was leased and not begun.
    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    /// Takes out the items of a stage.
    pub(super) fn remove_stage(&mut self, stage: &str) -> Vec<WorkItem> {
        let is_of = |item: &WorkItem| self.stage_of.get(&item.key.node).is_some_and(|of| of == stage);
        let (removed, kept): (Vec<_>, Vec<_>) = self.items.drain(..).partition(is_of);
        self.items = kept.into();
        removed
    }

    /// Whether a stage may have one more item running, those queued not counted.
    fn has_room(&self, stage: &str) -> bool {
        self.limits.get(stage).is_none_or(|limit| self.running.get(stage).copied().unwrap_or(0) < *limit)
    }

    /// Whether items of the node may be leased: not more than its stage can run at once.
    pub(super) fn wants(&self, node: &str) -> bool {
        let Some(stage) = self.stage_of.get(node) else { return false };
        let queued = self.items.iter().filter(|item| self.stage_of.get(&item.key.node) == Some(stage)).count();
        self.limits.get(stage).is_none_or(|limit| self.running.get(stage).copied().unwrap_or(0) + queued < *limit)
    }

    /// The next item that may begin; it counts as running from now on.
    pub(super) fn begin(&mut self) -> Option<WorkItem> {
        let may_begin = |item: &WorkItem| self.stage_of.get(&item.key.node).is_some_and(|stage| self.has_room(stage));
        let at = self.items.iter().position(may_begin)?;
        let item = self.items.remove(at)?;
        let stage = self.stage_of.get(&item.key.node)?;
        *self.running.entry(stage.clone()).or_default() += 1;
        Some(item)
    }

    /// An item of `node` ended after so long.
    pub(super) fn end(&mut self, node: &str, took: Duration) {
        if let Some(running) = self.stage_of.get(node).and_then(|stage| self.running.get_mut(stage)) {
            *running = running.saturating_sub(1);
        }
        let took = took.as_secs_f64();
        self.mean_secs = Some(self.mean_secs.map_or(took, |mean| mean + NEW * (took - mean)));
    }

    /// How many items to lease at once for so many workers.
    pub(super) fn chunk(&self, workers: usize) -> u32 {
        let workers = u32::try_from(workers).unwrap_or(MAX_CHUNK);
        let Some(mean) = self.mean_secs else { return workers.clamp(1, MAX_CHUNK) };
        let items = CHUNK.as_secs_f64() / mean.max(1e-6) * f64::from(workers);
        (items as u32).clamp(workers, MAX_CHUNK.max(workers))
    }
}
