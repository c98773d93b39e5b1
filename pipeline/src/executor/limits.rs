//! What stops a run or a stage early: a budget that is spent, and faults too many to lie in the rows.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::rows::MIN_FAULTY;
use crate::catalog::{LedgerEntry, NodeProgress, QuarantineRow, RowCounts};
use crate::manifest::Budget;
use crate::plan::PlanNode;
use crate::stage::{Cost, WorkError};

const MS_PER_HOUR: f64 = 3_600_000.0;

/// What was spent by all attempts of the project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    wall_ms: u64,
    device_ms: u64,
    n_tokens: u64,
}

impl Spent {
    /// The sum of a ledger.
    pub(super) fn of(ledger: &[LedgerEntry]) -> Self {
        let mut spent = Self::default();
        for entry in ledger {
            spent.add(entry.wall_ms, entry.cost);
        }
        spent
    }

    fn add(&mut self, wall_ms: u64, cost: Cost) {
        self.wall_ms += wall_ms;
        self.device_ms += cost.device_ms;
        self.n_tokens += cost.prompt_tokens + cost.completion_tokens;
    }

    /// The first limit that is reached, as a sentence.
    fn exceeds(&self, budget: &Budget) -> Option<String> {
        let hours = |spent_ms: u64, limit: Option<f64>, key: &str| {
            let (spent, limit) = (spent_ms as f64 / MS_PER_HOUR, limit?);
            (spent >= limit).then(|| format!("budget.{key} = {limit} is spent ({spent:.3} hours)"))
        };
        hours(self.wall_ms, budget.worker_hours, "worker_hours")
            .or_else(|| hours(self.device_ms, budget.device_hours, "device_hours"))
            .or_else(|| {
                let limit = budget.tokens.filter(|limit| self.n_tokens >= *limit)?;
                Some(format!("budget.tokens = {limit} is spent ({} tokens)", self.n_tokens))
            })
    }
}

/// The limits of a run.
#[derive(Debug, Default)]
pub(super) struct Limits {
    budget: Budget,
    spent: Mutex<Spent>,
    /// Node → rows read and rows in quarantine of its committed shards.
    faults: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl Limits {
    pub(super) fn new(budget: Budget, spent: Spent, progress: &[NodeProgress]) -> Self {
        let faults =
            progress.iter().map(|node| (node.node.clone(), (node.rows.n_in, node.rows.n_quarantined))).collect();
        Self { budget, spent: Mutex::new(spent), faults: Mutex::new(faults) }
    }

    /// Whether any budget was set.
    pub(super) fn has_budget(&self) -> bool {
        self.budget != Budget::default()
    }

    /// Replaces what was spent: other processes spend as well.
    pub(super) fn set_spent(&self, spent: Spent) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = spent;
    }

    /// Adds an attempt of this process.
    pub(super) fn spend(&self, wall_ms: u64, cost: Cost) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).add(wall_ms, cost);
    }

    /// The first budget that is spent, as a sentence.
    pub(super) fn over_budget(&self) -> Option<String> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).exceeds(&self.budget)
    }

    /// Refuses a shard with which too many of the node's rows would be in quarantine: the fault is then hardly in them.
    pub(super) fn check_quarantine(
        &self,
        node: &PlanNode,
        counts: RowCounts,
        quarantine: &[QuarantineRow],
    ) -> Result<(), WorkError> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (n_in, n_faulty) = faults.get(&node.name).copied().unwrap_or_default();
        let (n_in, n_faulty) = (n_in + counts.n_in, n_faulty + counts.n_quarantined);
        if counts.n_quarantined == 0
            || n_faulty < MIN_FAULTY
            || n_faulty as f64 <= node.settings.max_quarantine * n_in as f64
        {
            return Ok(());
        }
        let example = quarantine.last().map_or("", |row| row.message.as_str());
        Err(WorkError::Systemic(format!(
            "{n_faulty} of {n_in} rows are at fault, more than max_quarantine = {} allows; the last one: {example}",
            node.settings.max_quarantine,
        )))
    }

    /// Counts a committed shard.
    pub(super) fn count(&self, node: &str, counts: RowCounts) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (n_in, n_faulty) = faults.entry(node.to_owned()).or_default();
        *n_in += counts.n_in;
        *n_faulty += counts.n_quarantined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_by_all_attempts_together() {
        let budget = Budget { worker_hours: Some(1.0), device_hours: None, tokens: Some(10) };
        let limits = Limits::new(budget, Spent::default(), &[]);
        assert_eq!(limits.over_budget(), None);
        limits.spend(3_000_000, Cost { prompt_tokens: 5, completion_tokens: 4, ..Cost::default() });
        assert_eq!(limits.over_budget(), None);
        limits.spend(0, Cost { completion_tokens: 1, ..Cost::default() });
        assert!(limits.over_budget().unwrap().contains("budget.tokens = 10"));
        limits.spend(600_000, Cost::default());
        assert!(limits.over_budget().unwrap().contains("budget.worker_hours = 1"));
    }
}
