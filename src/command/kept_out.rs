//! Rows that were kept out for benchmarks: told by `plan` and `run` as soon as a committed scan has them, and refused where
//! the manifest says so.

use cafe_pipeline::catalog::ShardKey;
use cafe_pipeline::executor::Project;
use cafe_pipeline::plan::Expansion;
use cafe_stages::benchmark::{ADVICE, KeptOut, guarded, kept_out};

use crate::failure::Failure;

/// What the scans among `expansion` that are committed have kept out, whichever run has made them.
pub(super) async fn find(project: &Project, expansion: &Expansion) -> Result<Vec<KeptOut>, Failure> {
    let nodes = guarded(&project.plan);
    let keys = expansion.batch.rows.iter().map(|row| &row.key).filter(|key| nodes.contains(&key.node));
    let keys: Vec<ShardKey> = keys.cloned().collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(kept_out(&project.plan, &project.catalog.quarantine_of(&keys).await?))
}

/// The same, of the plan that was just run.
pub(super) async fn find_now(project: &Project) -> Result<Vec<KeptOut>, Failure> {
    if guarded(&project.plan).is_empty() {
        return Ok(Vec::new());
    }
    Ok(kept_out(&project.plan, &project.catalog.quarantine().await?))
}

/// What is to be warned of: what is refused is said as an error, or by the stage that stops.
pub(super) fn warnings(found: &[KeptOut]) -> Vec<String> {
    found.iter().filter(|one| !one.is_refused()).map(KeptOut::text).collect()
}

/// Refuses a plan of which a benchmark has kept something out that stops its stage.
pub(super) fn check(found: &[KeptOut]) -> Result<(), Failure> {
    let refused: Vec<String> = found.iter().filter(|one| one.is_refused()).map(KeptOut::text).collect();
    if refused.is_empty() { Ok(()) } else { Err(Failure::Plan(refused.join("; "), ADVICE.to_owned())) }
}
