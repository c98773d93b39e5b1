//! The ledger by stage.

use super::facts::Facts;
use super::report::StageCost;
use crate::catalog::LedgerEntry;

/// Attempts at nodes that no plan has any more.
const EARLIER: &str = "(not in the plan any more)";

/// What each stage cost. Money spent is spent: attempts of earlier plans count too.
pub(super) fn by_stage(facts: &Facts, n_accepted: Option<u64>) -> Vec<StageCost> {
    let mut stages: Vec<StageCost> = Vec::new();
    for node in &facts.nodes {
        if !stages.iter().any(|stage| stage.stage == node.stage) {
            stages.push(StageCost { stage: node.stage.clone(), ..StageCost::default() });
        }
    }
    for entry in &facts.ledger {
        let node = facts.nodes.iter().find(|node| node.name == entry.node);
        let name = node.map_or(EARLIER, |node| node.stage.as_str());
        match stages.iter_mut().find(|stage| stage.stage == name) {
            Some(stage) => add(stage, entry),
            None => {
                let mut stage = StageCost { stage: name.to_owned(), ..StageCost::default() };
                add(&mut stage, entry);
                stages.push(stage);
            }
        }
    }
    if let Some(n_accepted) = n_accepted.filter(|n_accepted| *n_accepted > 0) {
        for stage in &mut stages {
            let per_row = |ms: u64| Some(ms as f64 / 1000.0 / n_accepted as f64);
            stage.wall_secs_per_accepted = per_row(stage.wall_ms);
            stage.device_secs_per_accepted = per_row(stage.device_ms);
        }
    }
    stages
}

fn add(stage: &mut StageCost, entry: &LedgerEntry) {
    stage.n_attempts += 1;
    stage.wall_ms += entry.wall_ms;
    stage.device_ms += entry.cost.device_ms;
    stage.prompt_tokens += entry.cost.prompt_tokens;
    stage.completion_tokens += entry.cost.completion_tokens;
    if !matches!(entry.outcome.as_str(), "committed" | "running") {
        stage.n_lost += 1;
        stage.lost_wall_ms += entry.wall_ms;
        stage.lost_device_ms += entry.cost.device_ms;
    }
}
