//! Manifest → Plan: every stage compiled by its kind, reads resolved along `needs`, fingerprints computed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::reads::{self, Upstream};
use super::{Plan, PlanNode, ResolvedRead};
use crate::catalog::Adoption;
use crate::digest::{Fingerprint, Hasher};
use crate::manifest::{Manifest, Stage};
use crate::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageRegistry};

/// A mistake in one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanIssue {
    /// Index of the stage in the manifest.
    pub stage: usize,
    /// What is wrong there.
    pub issue: ConfigIssue,
}

/// Compiles a manifest whose `needs` are known to be acyclic.
///
/// # Errors
/// All mistakes that the stage kinds found, and all reads that cannot be resolved.
pub fn compile(manifest: &Manifest, registry: &StageRegistry, adoptions: &[Adoption]) -> Result<Plan, Vec<PlanIssue>> {
    let context = CompileContext::of(manifest);
    let mut issues = Vec::new();
    let mut declared: BTreeMap<usize, Vec<NodeDecl>> = BTreeMap::new();
    for (index, stage) in manifest.stages.iter().enumerate() {
        let Some(kind) = registry.get(&stage.kind) else {
            let issue = ConfigIssue::new("/kind", format!("there is no stage kind `{}`", stage.kind));
            issues.push(PlanIssue { stage: index, issue });
            continue;
        };
        let decl = StageDecl { name: stage.name.clone(), config: stage.config.clone() };
        match kind.compile(&decl, &context) {
            Ok(nodes) => {
                declared.insert(index, nodes);
            }
            Err(found) => issues.extend(found.into_iter().map(|issue| PlanIssue { stage: index, issue })),
        }
    }
    let upstream = Upstream::new(manifest, registry);
    let mut plan = Plan { manifest: manifest.clone(), nodes: Vec::new() };
    // A stage that needs a faulty one would only repeat its faults.
    let mut faulty: BTreeSet<&str> = BTreeSet::new();
    for index in topological(&manifest.stages) {
        let Some(stage) = manifest.stages.get(index) else { continue };
        let Some(nodes) = declared.remove(&index) else {
            faulty.insert(&stage.name);
            continue;
        };
        let behind = stage.needs.iter().any(|need| faulty.contains(need.as_str()));
        for decl in nodes {
            match reads::resolve(&plan, stage, &decl, &upstream) {
                Ok(reads) => plan.nodes.push(node(&plan, stage, decl, reads, adoptions)),
                Err(found) => {
                    faulty.insert(&stage.name);
                    if !behind {
                        issues.extend(found.into_iter().map(|issue| PlanIssue { stage: index, issue }));
                    }
                }
            }
        }
    }
    if issues.is_empty() { Ok(plan) } else { Err(issues) }
}

/// Indices of the stages, each after those it needs, otherwise in the order written.
fn topological(stages: &[Stage]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut placed = BTreeSet::new();
    while order.len() < stages.len() {
        let ready = stages.iter().enumerate().find(|(index, stage)| {
            !order.contains(index) && stage.needs.iter().all(|need| placed.contains(need.as_str()))
        });
        // No stage is ready in a cycle or behind an unknown need, which the manifest's check has reported.
        let Some((index, stage)) = ready else { break };
        order.push(index);
        placed.insert(stage.name.as_str());
    }
    order
}

fn node(plan: &Plan, stage: &Stage, decl: NodeDecl, reads: Vec<ResolvedRead>, adoptions: &[Adoption]) -> PlanNode {
    let name = decl.part.map_or(stage.name.clone(), |part| format!("{}.{part}", stage.name));
    let upstream = |name: &String| plan.node(name);
    let inputs: Vec<Value> = reads
        .iter()
        .map(|read| {
            let from: BTreeMap<&str, Fingerprint> =
                read.from.iter().filter_map(upstream).map(|node| (node.name.as_str(), node.fingerprint)).collect();
            json!({ "table": read.table, "from": from })
        })
        .collect();
    let fields = json!({
        "kind": stage.kind,
        "part": decl.part,
        "output_version": decl.output_version,
        "settings": decl.settings,
        "seed": plan.manifest.seed,
        "inputs": inputs,
    });
    // Names of stages are left out of the hash: only what they contain decides the bytes.
    let mut hasher = Hasher::new("node/v1")
        .text("kind", &stage.kind)
        .text("part", decl.part.unwrap_or_default())
        .number("output_version", decl.output_version.into())
        .json("settings", &decl.settings)
        .number("seed", plan.manifest.seed);
    for read in &reads {
        hasher = hasher.text("table", &read.table);
        for node in read.from.iter().filter_map(upstream) {
            hasher = hasher.bytes("from", node.fingerprint.as_bytes());
        }
    }
    let own_fingerprint = hasher.fingerprint();
    let fingerprint = adoptions
        .iter()
        .rev()
        .find(|adoption| adoption.node == name && adoption.wanted == own_fingerprint)
        .map_or(own_fingerprint, |adoption| adoption.taken);
    let depth = reads.iter().flat_map(|read| &read.from).filter_map(upstream).map(|node| node.depth + 1).max();
    PlanNode {
        name,
        stage: stage.name.clone(),
        kind: stage.kind.clone(),
        decl,
        settings: stage.common.clone(),
        reads,
        depth: depth.unwrap_or(0),
        fields,
        own_fingerprint,
        fingerprint,
    }
}
