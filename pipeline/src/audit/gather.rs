//! Asks the catalog, and looks at the files on threads of their own.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::AuditError;
use super::facts::{Facts, NodeFacts};
use super::files::{Look, orphans};
use super::report::Orphans;
use crate::catalog::{Catalog, PlanRecord, ShardState, ShardStatus};
use crate::plan::Plan;
use crate::storage::Storage;

/// Everything that [`super::judge`] wants to know.
pub(super) async fn gather(
    plan: &Plan,
    catalog: &dyn Catalog,
    storage: &Arc<dyn Storage>,
    verify: bool,
) -> Result<Facts, AuditError> {
    // Before the catalog is asked: a file committed in between is known, and no orphan.
    let stored = blocking(storage, |storage| storage.list(""))
        .await?
        .map_err(|error| AuditError::Storage { root: storage.root().display().to_string(), error })?;
    let shards = catalog.shards(None).await?;
    let known: HashSet<String> = catalog.known_paths().await?.into_iter().collect();
    let releases = catalog.releases().await?;
    let mut lineage = BTreeMap::new();
    if verify {
        for shard in shards.iter().filter(|shard| shard.state == ShardState::Committed) {
            lineage.insert(shard.shard_id, catalog.lineage(shard.shard_id).await?);
        }
    }
    let look = Look { nodes: NodeFacts::all(plan, &shards), parts: parts(plan), shards, releases, verify };
    let (look, found) = blocking(storage, move |storage| {
        let found = look.look(storage);
        (look, found)
    })
    .await?;
    let orphans: Orphans = blocking(storage, move |storage| orphans(storage, &stored, &known)).await?;
    Ok(Facts {
        verified: verify,
        notes: notes(plan, catalog.current_plan().await?.as_ref(), &look.shards),
        nodes: look.nodes,
        shards: look.shards,
        quarantine: catalog.quarantine().await?,
        ledger: catalog.ledger().await?,
        files: found.files,
        listings: found.listings,
        lineage,
        keys: found.keys,
        verdicts: found.verdicts,
        releases: found.releases,
        orphans,
    })
}

/// Helper nodes inside a stage: what they write is nobody else's to read, and may hold an id twice (`collect.scan`).
fn parts(plan: &Plan) -> BTreeSet<String> {
    plan.nodes.iter().filter(|node| node.decl.part.is_some()).map(|node| node.name.clone()).collect()
}

async fn blocking<T: Send + 'static>(
    storage: &Arc<dyn Storage>,
    work: impl FnOnce(&dyn Storage) -> T + Send + 'static,
) -> Result<T, AuditError> {
    let storage = Arc::clone(storage);
    tokio::task::spawn_blocking(move || work(storage.as_ref()))
        .await
        .map_err(|error| AuditError::Internal(error.to_string()))
}

/// Where the manifest and what was run differ.
fn notes(plan: &Plan, current: Option<&PlanRecord>, shards: &[ShardStatus]) -> Vec<String> {
    let Some(current) = current else { return vec!["nothing was run yet".to_owned()] };
    let run: BTreeMap<&str, &str> = current
        .nodes
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node.get("name")?.as_str()?, node.get("fingerprint")?.as_str()?)))
        .collect();
    let mut notes = Vec::new();
    let changed: Vec<&str> = plan
        .nodes
        .iter()
        .filter(|node| run.get(node.name.as_str()).is_none_or(|run| *run != node.fingerprint.to_hex()))
        .map(|node| node.name.as_str())
        .collect();
    if !changed.is_empty() {
        let names = crate::text::listed(changed, 12);
        notes.push(format!(
            "the manifest was changed since the last run: {names}; the numbers are those of the last run"
        ));
    }
    let foreign: BTreeSet<&str> =
        shards.iter().map(|shard| shard.key.node.as_str()).filter(|name| plan.node(name).is_none()).collect();
    if !foreign.is_empty() {
        let names = crate::text::listed(foreign, 12);
        notes.push(format!("not in the manifest any more: {names}; what they read and make is not counted again"));
    }
    notes
}
