//! Manifest → Plan: every stage compiled by its kind, reads resolved along `needs`, fingerprints computed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::{Plan, PlanNode, ResolvedRead};
use crate::catalog::Adoption;
use crate::digest::{Fingerprint, Hasher};
use crate::manifest::{Manifest, Stage};
use crate::stage::{Bounds, CompileContext, ConfigIssue, Mapping, NodeDecl, Read, ReadFrom, StageDecl, StageRegistry};

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
            match resolve(&plan, stage, &decl, manifest) {
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

fn resolve(
    plan: &Plan,
    stage: &Stage,
    decl: &NodeDecl,
    manifest: &Manifest,
) -> Result<Vec<ResolvedRead>, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    let mut reads = Vec::new();
    for read in &decl.reads {
        let found = match read.from {
            ReadFrom::Part(part) => vec![format!("{}.{part}", stage.name)],
            ReadFrom::Nearest => nearest(plan, stage, &read.table, manifest),
            ReadFrom::Every => every(plan, stage, &read.table, manifest),
        };
        match (&read.from, found.len()) {
            (_, 0) if read.is_optional => {}
            (_, 0) => issues.push(missing(plan, stage, read, manifest)),
            (ReadFrom::Nearest, 2..) => issues.push(
                ConfigIssue::new(
                    "/needs",
                    format!("table `{}` comes from {} at once", read.table, found.join(" and ")),
                )
                .with_help("need only one of them, or put a stage between"),
            ),
            _ => {
                issues.extend(read.columns.iter().filter_map(|column| absent(plan, read, &found, column)));
                reads.push(ResolvedRead { table: read.table.clone(), from: found, mapping: read.mapping });
            }
        }
    }
    if issues.is_empty() {
        issues.extend(misaligned(plan, decl, &reads));
    }
    if issues.is_empty() { Ok(reads) } else { Err(issues) }
}

/// The nodes at the smallest distance along `needs` that write `table`.
fn nearest(plan: &Plan, stage: &Stage, table: &str, manifest: &Manifest) -> Vec<String> {
    for level in levels(stage, manifest) {
        let found: Vec<String> = writers(plan, table, &level).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// All nodes upstream that write `table`, in plan order.
fn every(plan: &Plan, stage: &Stage, table: &str, manifest: &Manifest) -> Vec<String> {
    let all = levels(stage, manifest).into_iter().flatten().collect();
    writers(plan, table, &all).collect()
}

/// The last nodes of `stages` that write `table`. Helper parts are private to their stage.
fn writers<'a>(plan: &'a Plan, table: &'a str, stages: &'a BTreeSet<String>) -> impl Iterator<Item = String> + 'a {
    plan.nodes
        .iter()
        .filter(move |node| stages.contains(&node.stage) && node.decl.part.is_none())
        .filter(move |node| node.decl.writes.iter().any(|written| written.name == table))
        .map(|node| node.name.clone())
}

/// Stages upstream, by distance: those needed, those that they need, …
fn levels(stage: &Stage, manifest: &Manifest) -> Vec<BTreeSet<String>> {
    let mut levels = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next: VecDeque<String> = stage.needs.iter().cloned().collect();
    while !next.is_empty() {
        let level: BTreeSet<String> = next.drain(..).filter(|name| seen.insert(name.clone())).collect();
        for name in &level {
            if let Some(stage) = manifest.stages.iter().find(|stage| stage.name == *name) {
                next.extend(stage.needs.iter().cloned());
            }
        }
        if !level.is_empty() {
            levels.push(level);
        }
    }
    levels
}

fn missing(plan: &Plan, stage: &Stage, read: &Read, manifest: &Manifest) -> ConfigIssue {
    let everywhere = manifest.stages.iter().map(|stage| stage.name.clone()).collect();
    let elsewhere: Vec<String> = writers(plan, &read.table, &everywhere).filter(|name| *name != stage.name).collect();
    let issue = ConfigIssue::new(
        "/needs",
        format!("`{}` reads table `{}`, which no stage that it needs writes", stage.name, read.table),
    );
    if elsewhere.is_empty() {
        issue.with_help(format!("add a stage that writes `{}`", read.table))
    } else {
        issue.with_help(format!("add `{}` to `needs`", elsewhere.join("` or `")))
    }
}

/// A column that none of the table's writers has.
fn absent(plan: &Plan, read: &Read, writers: &[String], column: &str) -> Option<ConfigIssue> {
    let tables: Vec<_> = writers
        .iter()
        .filter_map(|name| plan.node(name))
        .flat_map(|node| &node.decl.writes)
        .filter(|table| table.name == read.table)
        .collect();
    if tables.iter().any(|table| table.columns.contains(column)) {
        return None;
    }
    let names: Vec<&str> =
        tables.iter().flat_map(|table| table.columns.iter_names()).map(|name| name.as_str()).collect();
    let issue = ConfigIssue::new(
        "",
        format!("table `{}` from `{}` has no column `{column}`", read.table, writers.join("`, `")),
    );
    Some(issue.with_help(format!("its columns are {}", names.join(", "))))
}

/// Tables that are read shard by shard must have been cut by the same node.
fn misaligned(plan: &Plan, decl: &NodeDecl, reads: &[ResolvedRead]) -> Option<ConfigIssue> {
    let roots: BTreeMap<&str, &str> = reads
        .iter()
        .filter(|read| read.mapping == Mapping::Same)
        .flat_map(|read| read.from.iter())
        .filter_map(|name| Some((bounds_root(plan, name)?, name.as_str())))
        .collect();
    let mut roots = roots.into_iter();
    match (roots.next(), roots.next()) {
        (Some((one_root, one)), Some((other_root, other))) => Some(
            ConfigIssue::new(
                "/needs",
                format!(
                    "shards of `{one}` and `{other}` do not match: they were cut by `{one_root}` and `{other_root}`"
                ),
            )
            .with_help("read both from stages that go back to the same source"),
        ),
        (None, _) if matches!(decl.bounds, Bounds::Aligned) => {
            Some(ConfigIssue::new("", "an aligned node must read at least one table shard by shard"))
        }
        _ => None,
    }
}

/// The node that cut the shards which `name` follows.
fn bounds_root<'a>(plan: &'a Plan, name: &str) -> Option<&'a str> {
    let node = plan.node(name)?;
    match node.decl.bounds {
        Bounds::Aligned => {
            bounds_root(plan, node.reads.iter().find(|read| read.mapping == Mapping::Same)?.from.first()?)
        }
        _ => Some(&node.name),
    }
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
