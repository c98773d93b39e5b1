//! Where the tables that a node reads come from, along `needs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Plan, ResolvedRead};
use crate::manifest::{Manifest, Stage};
use crate::stage::{Bounds, ConfigIssue, Mapping, NodeDecl, Read, ReadFrom, StageRegistry};

/// The stages of a manifest, as those after them look back on them.
pub(super) struct Upstream<'a> {
    manifest: &'a Manifest,
    /// Stages that nobody looks past.
    ends: BTreeSet<&'a str>,
}

impl<'a> Upstream<'a> {
    pub(super) fn new(manifest: &'a Manifest, registry: &StageRegistry) -> Self {
        let ends = |stage: &&Stage| registry.get(&stage.kind).is_some_and(|kind| kind.ends_lineage());
        Self { manifest, ends: manifest.stages.iter().filter(ends).map(|stage| stage.name.as_str()).collect() }
    }

    /// Stages upstream, by distance: those needed, those that they need, …
    fn levels(&self, stage: &Stage) -> Vec<BTreeSet<String>> {
        let mut levels = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next: VecDeque<String> = stage.needs.iter().cloned().collect();
        while !next.is_empty() {
            let level: BTreeSet<String> = next.drain(..).filter(|name| seen.insert(name.clone())).collect();
            for name in level.iter().filter(|name| !self.ends.contains(name.as_str())) {
                if let Some(stage) = self.manifest.stages.iter().find(|stage| stage.name == *name) {
                    next.extend(stage.needs.iter().cloned());
                }
            }
            if !level.is_empty() {
                levels.push(level);
            }
        }
        levels
    }
}

/// Where each read of `decl` comes from.
pub(super) fn resolve(
    plan: &Plan,
    stage: &Stage,
    decl: &NodeDecl,
    upstream: &Upstream<'_>,
) -> Result<Vec<ResolvedRead>, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    let mut reads = Vec::new();
    for read in &decl.reads {
        let found = match read.from {
            ReadFrom::Part(part) => vec![format!("{}.{part}", stage.name)],
            ReadFrom::Nearest => nearest(plan, stage, &read.table, upstream),
            ReadFrom::Every => every(plan, stage, &read.table, upstream),
        };
        match (&read.from, found.len()) {
            (_, 0) if read.is_optional => {}
            (_, 0) => issues.push(missing(plan, stage, read, upstream)),
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
fn nearest(plan: &Plan, stage: &Stage, table: &str, upstream: &Upstream<'_>) -> Vec<String> {
    for level in upstream.levels(stage) {
        let found: Vec<String> = writers(plan, table, &level).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// All nodes upstream that write `table`, in plan order.
fn every(plan: &Plan, stage: &Stage, table: &str, upstream: &Upstream<'_>) -> Vec<String> {
    let all = upstream.levels(stage).into_iter().flatten().collect();
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

fn missing(plan: &Plan, stage: &Stage, read: &Read, upstream: &Upstream<'_>) -> ConfigIssue {
    let everywhere = upstream.manifest.stages.iter().map(|stage| stage.name.clone()).collect();
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
