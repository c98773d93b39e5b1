//! Leased work items that wait for a free worker of this process.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::catalog::WorkItem;
use crate::plan::Plan;

/// Short items are leased ahead for about so much work: enough that the cost of leases does not count, little enough that
/// another process finds work too. An item that takes longer is leased when a worker is free for it, so that what has
/// become ready meanwhile, deeper in the plan, comes first.
const AHEAD: Duration = Duration::from_millis(250);
const MAX_AHEAD: u32 = 256;
/// Weight of the latest item in the average.
const NEW: f64 = 0.1;

/// Items leased and not begun, and how many of each stage are running.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// With the time of the lease.
    items: VecDeque<(WorkItem, Instant)>,
    running: BTreeMap<String, usize>,
    /// Stage → items at once, where the manifest limits them.
    limits: BTreeMap<String, usize>,
    stage_of: BTreeMap<String, String>,
    /// Node → how long its items take. Stages differ by four orders of magnitude.
    mean_secs: BTreeMap<String, f64>,
    /// Of the item that was begun last.
    last_node: Option<String>,
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
        let leased = Instant::now();
        self.items.extend(items.into_iter().map(|item| (item, leased)));
    }

    /// Forgets what was leased and not begun.
    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    /// Takes out the items of a stage.
    pub(super) fn remove_stage(&mut self, stage: &str) -> Vec<WorkItem> {
        let is_of = |item: &WorkItem| self.stage_of.get(&item.key.node).is_some_and(|of| of == stage);
        let (removed, kept): (Vec<_>, Vec<_>) = self.items.drain(..).partition(|(item, _)| is_of(item));
        self.items = kept.into();
        removed.into_iter().map(|(item, _)| item).collect()
    }

    /// Whether a stage may have one more item running, those queued not counted.
    fn has_room(&self, stage: &str) -> bool {
        self.limits.get(stage).is_none_or(|limit| self.running.get(stage).copied().unwrap_or(0) < *limit)
    }

    /// Whether items of the node may be leased: not more than its stage can run at once.
    pub(super) fn wants(&self, node: &str) -> bool {
        let Some(stage) = self.stage_of.get(node) else { return false };
        let queued = self.items.iter().filter(|(item, _)| self.stage_of.get(&item.key.node) == Some(stage)).count();
        self.limits.get(stage).is_none_or(|limit| self.running.get(stage).copied().unwrap_or(0) + queued < *limit)
    }

    /// The next item that may begin, and how long it has waited since it was leased; it counts as running from now on.
    pub(super) fn begin(&mut self) -> Option<(WorkItem, Duration)> {
        let may_begin = |(item, _): &(WorkItem, Instant)| {
            self.stage_of.get(&item.key.node).is_some_and(|stage| self.has_room(stage))
        };
        let at = self.items.iter().position(may_begin)?;
        let (item, leased) = self.items.remove(at)?;
        let stage = self.stage_of.get(&item.key.node)?;
        *self.running.entry(stage.clone()).or_default() += 1;
        self.last_node = Some(item.key.node.clone());
        Some((item, leased.elapsed()))
    }

    /// An item of `node` ended after so long.
    pub(super) fn end(&mut self, node: &str, took: Duration) {
        if let Some(running) = self.stage_of.get(node).and_then(|stage| self.running.get_mut(stage)) {
            *running = running.saturating_sub(1);
        }
        let took = took.as_secs_f64();
        match self.mean_secs.get_mut(node) {
            Some(mean) => *mean += NEW * (took - *mean),
            None => {
                self.mean_secs.insert(node.to_owned(), took);
            }
        }
    }

    /// Whether items of the node are known to be so short that they are leased ahead.
    pub(super) fn is_short(&self, node: &str) -> bool {
        self.mean_secs.get(node).is_some_and(|mean| *mean < AHEAD.as_secs_f64())
    }

    /// How many short items to lease for so many workers that are all busy: none, unless what was begun last is short,
    /// and nothing waits any more.
    pub(super) fn ahead(&self, workers: usize) -> u32 {
        let Some(node) = self.last_node.as_ref().filter(|node| self.items.is_empty() && self.is_short(node)) else {
            return 0;
        };
        let mean = self.mean_secs.get(node).copied().unwrap_or_default();
        let items = AHEAD.as_secs_f64() / mean.max(1e-6) * workers as f64;
        (items as u32).clamp(1, MAX_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ShardKey;
    use crate::digest::Hasher;

    fn item(node: &str, shard_index: i64) -> WorkItem {
        WorkItem {
            shard_id: shard_index,
            key: ShardKey { node: node.to_owned(), shard_index, fingerprint: Hasher::new("test").fingerprint() },
            token: 1,
            slice: None,
            inputs: Vec::new(),
            n_tries: 0,
            n_deaths: 0,
            micro_batch: None,
        }
    }

    /// `scan` and `draw` are nodes of stages of their own name.
    fn queue() -> Queue {
        let stage_of = ["scan", "draw"].map(|name| (name.to_owned(), name.to_owned()));
        Queue { stage_of: stage_of.into(), ..Queue::default() }
    }

    /// Has an item of `node` begin, and end after so long.
    fn work(queue: &mut Queue, node: &str, millis: u64) {
        queue.extend(vec![item(node, 0)]);
        assert_eq!(queue.begin().unwrap().0.key.node, node);
        queue.end(node, Duration::from_millis(millis));
    }

    #[test]
    fn only_short_items_are_leased_ahead_whatever_came_before_them() {
        let mut queue = queue();
        queue.extend(vec![item("scan", 0)]);
        queue.begin().unwrap();
        assert_eq!(queue.ahead(2), 0, "how long it takes is not known yet");
        queue.end("scan", Duration::from_millis(5));
        assert!(queue.is_short("scan") && !queue.is_short("draw"));
        assert_eq!(queue.ahead(2), 100);
        assert_eq!(queue.ahead(1000), MAX_AHEAD);
        // A hundred short items do not make a long one short, and the other way round.
        queue.extend(vec![item("draw", 0)]);
        queue.begin().unwrap();
        assert_eq!(queue.ahead(2), 0);
        queue.end("draw", Duration::from_secs(20));
        assert!(queue.is_short("scan") && !queue.is_short("draw"));
        assert_eq!(queue.ahead(2), 0);
        work(&mut queue, "scan", 5);
        assert_eq!(queue.ahead(2), 100);
        queue.extend(vec![item("scan", 1)]);
        assert_eq!(queue.ahead(2), 0, "something waits");
    }

    #[test]
    fn an_item_says_how_long_it_has_waited() {
        let mut queue = queue();
        queue.extend(vec![item("scan", 0)]);
        std::thread::sleep(Duration::from_millis(20));
        let (_, waited) = queue.begin().unwrap();
        assert!(waited >= Duration::from_millis(20), "{waited:?}");
    }

    #[test]
    fn a_stage_runs_no_more_at_once_than_its_limit() {
        let mut queue = Queue { limits: [("draw".to_owned(), 1)].into(), ..queue() };
        queue.extend(vec![item("draw", 0), item("draw", 1), item("scan", 0)]);
        assert_eq!(queue.begin().unwrap().0.key.node, "draw");
        assert_eq!(queue.begin().unwrap().0.key.node, "scan");
        assert!(queue.begin().is_none() && !queue.wants("draw") && queue.wants("scan"));
        queue.end("draw", Duration::from_secs(1));
        assert_eq!(queue.remove_stage("draw").len(), 1);
        assert!(queue.begin().is_none() && queue.wants("draw"));
    }
}
