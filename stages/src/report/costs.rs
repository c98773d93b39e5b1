//! What it cost, stage by stage, over all attempts that ever were.

use cafe_pipeline::audit::StageCost;
use serde::Serialize;

use super::Facts;

/// The table.
#[derive(Debug, Serialize)]
pub(super) struct Costs {
    stages: Vec<Stage>,
    total: Stage,
    /// Rows that the last filter accepted.
    n_accepted: Option<u64>,
    /// The units that language models were paid by.
    has_tokens: bool,
    has_device: bool,
}

/// A stage.
#[derive(Debug, Default, Serialize)]
struct Stage {
    #[serde(flatten)]
    cost: StageCost,
    n_shards: u64,
    n_pending_shards: u64,
    n_rows: u64,
}

/// Sums up.
pub(super) fn costs(facts: &Facts) -> Costs {
    let mut total = Stage { cost: StageCost { stage: "all".to_owned(), ..StageCost::default() }, ..Stage::default() };
    let of_stage = |cost: &StageCost| {
        let nodes = || facts.audit.nodes.iter().filter(|node| node.stage == cost.stage);
        Stage {
            cost: cost.clone(),
            n_shards: nodes().map(|node| node.n_committed).sum(),
            n_pending_shards: nodes().map(|node| node.n_pending_shards + node.n_failed_shards).sum(),
            // A stage's rows are those of the node that bears its name: others help it.
            n_rows: nodes().find(|node| node.node == cost.stage).map_or(0, |node| node.n_out),
        }
    };
    let stages: Vec<Stage> = facts.audit.stages.iter().map(of_stage).collect();
    for stage in &stages {
        total.n_shards += stage.n_shards;
        total.n_pending_shards += stage.n_pending_shards;
        let (sum, cost) = (&mut total.cost, &stage.cost);
        sum.n_attempts += cost.n_attempts;
        sum.n_lost += cost.n_lost;
        sum.wall_ms += cost.wall_ms;
        sum.lost_wall_ms += cost.lost_wall_ms;
        sum.device_ms += cost.device_ms;
        sum.lost_device_ms += cost.lost_device_ms;
        sum.prompt_tokens += cost.prompt_tokens;
        sum.completion_tokens += cost.completion_tokens;
    }
    let per_accepted = |ms: u64| {
        let n_accepted = facts.audit.n_accepted.filter(|n_accepted| *n_accepted > 0)?;
        Some(ms as f64 / 1000.0 / n_accepted as f64)
    };
    total.cost.wall_secs_per_accepted = per_accepted(total.cost.wall_ms);
    total.cost.device_secs_per_accepted = per_accepted(total.cost.device_ms);
    Costs {
        has_tokens: total.cost.prompt_tokens + total.cost.completion_tokens > 0,
        has_device: total.cost.device_ms > 0,
        n_accepted: facts.audit.n_accepted,
        stages,
        total,
    }
}
