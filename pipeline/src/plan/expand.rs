//! Plan + listings → shards. Nodes behind a barrier that has not opened yet have no shards; they come into being when
//! its opening item commits.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, PlanNode, ResolvedRead};
use crate::catalog::{Catalog, CatalogError, ListingSlice, OPENING, ShardBatch, ShardKey, ShardRow};
use crate::digest::{Fingerprint, Hasher};
use crate::stage::{Bounds, Mapping};

/// The shards of a plan, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// Per node: its shards' fingerprints; missing while a barrier upstream is closed.
    pub shards: BTreeMap<String, Vec<Fingerprint>>,
    /// Rows and edges for the catalog.
    pub batch: ShardBatch,
}

/// Expands `plan`. `sources` holds the slices of source nodes, `opened` those of a barrier that opens right now.
///
/// # Errors
/// Of the catalog, which is asked for the slices of barriers opened before.
pub async fn expand(
    plan: &Plan,
    sources: &BTreeMap<String, Vec<ListingSlice>>,
    opened: Option<(&str, &[ListingSlice])>,
    catalog: &dyn Catalog,
) -> Result<Expansion, CatalogError> {
    let mut expansion = Expansion::default();
    for node in &plan.nodes {
        match &node.decl.bounds {
            Bounds::Source(_) => {
                let slices = sources.get(&node.name).map_or(&[][..], Vec::as_slice);
                expansion.add_slices(node, slices, None);
            }
            Bounds::Barrier(lister) => {
                let Some(inputs) = expansion.all_inputs(node) else { continue };
                let opening = Hasher::new("opening/v1")
                    .bytes("node", node.fingerprint.as_bytes())
                    .number("shard_rows", node.settings.shard_rows.into())
                    .bytes("inputs", inputs.as_bytes())
                    .fingerprint();
                let key = expansion.push(node, OPENING, opening, None);
                let slices = match opened {
                    Some((name, slices)) if name == node.name => Some(slices.to_vec()),
                    _ => catalog.find_opening(&key).await?,
                };
                if let Some(slices) = slices {
                    expansion.add_slices(node, &slices, (!lister.is_complete()).then_some(opening));
                }
            }
            Bounds::Aligned => expansion.add_aligned(node),
            Bounds::Single => {
                let Some(inputs) = expansion.all_inputs(node) else { continue };
                let fingerprint = shard_fingerprint(node, &[inputs]);
                expansion.push(node, 0, fingerprint, None);
                expansion.shards.insert(node.name.clone(), vec![fingerprint]);
            }
        }
    }
    expansion.batch.edges = plan.edges();
    if let Some((name, _)) = opened {
        let below = downstream(plan, name);
        // The opening item itself is being committed; what stands before it exists already.
        expansion
            .batch
            .rows
            .retain(|row| below.contains(&row.key.node) && !(row.key.node == name && row.key.shard_index == OPENING));
    }
    Ok(expansion)
}

impl Expansion {
    fn push(
        &mut self,
        node: &PlanNode,
        shard_index: i64,
        fingerprint: Fingerprint,
        slice: Option<ListingSlice>,
    ) -> ShardKey {
        let key = ShardKey { node: node.name.clone(), shard_index, fingerprint };
        self.batch.rows.push(ShardRow { key: key.clone(), depth: node.depth, slice });
        key
    }

    fn add_slices(&mut self, node: &PlanNode, slices: &[ListingSlice], opening: Option<Fingerprint>) {
        let mut fingerprints = Vec::with_capacity(slices.len());
        for (index, slice) in slices.iter().enumerate() {
            let mut parts = vec![Hasher::new("cut/v1").bytes("slice", slice.digest.as_bytes()).fingerprint()];
            parts.extend(opening);
            let fingerprint = shard_fingerprint(node, &parts);
            self.push(node, index as i64, fingerprint, Some(slice.clone()));
            fingerprints.push(fingerprint);
        }
        self.shards.insert(node.name.clone(), fingerprints);
    }

    fn add_aligned(&mut self, node: &PlanNode) {
        let Some(first) = node.reads.iter().find(|read| read.mapping == Mapping::Same) else { return };
        let Some(n_shards) = first.from.first().and_then(|from| self.shards.get(from)).map(Vec::len) else { return };
        let broadcast: Option<Vec<Fingerprint>> =
            node.reads.iter().filter(|read| read.mapping == Mapping::All).map(|read| self.all_shards(read)).collect();
        let Some(broadcast) = broadcast else { return };
        let mut fingerprints = Vec::with_capacity(n_shards);
        for index in 0..n_shards {
            let aligned: Option<Vec<Fingerprint>> = node
                .reads
                .iter()
                .filter(|read| read.mapping == Mapping::Same)
                .flat_map(|read| &read.from)
                .map(|from| self.shards.get(from)?.get(index).copied())
                .collect();
            let Some(mut parts) = aligned else { return };
            parts.extend(&broadcast);
            fingerprints.push(shard_fingerprint(node, &parts));
        }
        for (index, fingerprint) in fingerprints.iter().enumerate() {
            self.push(node, index as i64, *fingerprint, None);
        }
        self.shards.insert(node.name.clone(), fingerprints);
    }

    /// Hash over all shards that a node reads; `None` while they are not all known.
    fn all_inputs(&self, node: &PlanNode) -> Option<Fingerprint> {
        node.reads
            .iter()
            .try_fold(Hasher::new("inputs/v1"), |hasher, read| {
                Some(hasher.bytes("read", self.all_shards(read)?.as_bytes()))
            })
            .map(|hasher| hasher.fingerprint())
    }

    fn all_shards(&self, read: &ResolvedRead) -> Option<Fingerprint> {
        let mut hasher = Hasher::new("all/v1").text("table", &read.table);
        for from in &read.from {
            for fingerprint in self.shards.get(from)? {
                hasher = hasher.bytes("shard", fingerprint.as_bytes());
            }
        }
        Some(hasher.fingerprint())
    }
}

fn shard_fingerprint(node: &PlanNode, parts: &[Fingerprint]) -> Fingerprint {
    parts
        .iter()
        .fold(Hasher::new("shard/v1").bytes("node", node.fingerprint.as_bytes()), |hasher, part| {
            hasher.bytes("part", part.as_bytes())
        })
        .fingerprint()
}

/// `name` and every node that reads from it, directly or not.
fn downstream(plan: &Plan, name: &str) -> BTreeSet<String> {
    let mut below = BTreeSet::from([name.to_owned()]);
    for node in &plan.nodes {
        if node.reads.iter().flat_map(|read| &read.from).any(|from| below.contains(from)) {
            below.insert(node.name.clone());
        }
    }
    below
}
