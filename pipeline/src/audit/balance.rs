//! Rows: every row read must have been treated, be in quarantine, or be a duplicate.

use std::collections::{BTreeMap, HashMap};

use super::facts::{Facts, NodeFacts, RowsFrom};
use super::judge::of_shard;
use super::report::{NodeAudit, Problem, ProblemKind};
use crate::catalog::{OPENING, ShardState, ShardStatus};

/// The facts, so that what belongs together is found quickly.
pub(super) struct Books<'a> {
    facts: &'a Facts,
    nodes: HashMap<&'a str, &'a NodeFacts>,
    by_id: HashMap<i64, &'a ShardStatus>,
    /// Without opening items.
    by_node: HashMap<&'a str, BTreeMap<i64, &'a ShardStatus>>,
    n_quarantined: HashMap<(&'a str, i64), u64>,
}

impl<'a> Books<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        let mut by_node: HashMap<&str, BTreeMap<i64, &ShardStatus>> = HashMap::new();
        for shard in facts.shards.iter().filter(|shard| shard.key.shard_index != OPENING) {
            by_node.entry(&shard.key.node).or_default().insert(shard.key.shard_index, shard);
        }
        let mut n_quarantined: HashMap<(&str, i64), u64> = HashMap::new();
        for entry in &facts.quarantine {
            *n_quarantined.entry((entry.node.as_str(), entry.shard_index)).or_default() += 1;
        }
        Self {
            facts,
            nodes: facts.nodes.iter().map(|node| (node.name.as_str(), node)).collect(),
            by_id: facts.shards.iter().map(|shard| (shard.shard_id, shard)).collect(),
            by_node,
            n_quarantined,
        }
    }

    /// The shard with this row, when it is committed.
    pub(super) fn committed(&self, shard_id: i64) -> Option<&'a ShardStatus> {
        self.by_id.get(&shard_id).copied().filter(|shard| shard.state == ShardState::Committed)
    }

    fn shards(&self, node: &str) -> impl Iterator<Item = &'a ShardStatus> {
        self.by_node.get(node).into_iter().flat_map(BTreeMap::values).copied()
    }

    /// What the counts of a committed shard contradict.
    pub(super) fn check_shard(&self, shard: &ShardStatus) -> Vec<Problem> {
        let mut problems = Vec::new();
        let rows = &shard.rows;
        let mut found = |kind, what| problems.push(of_shard(shard, kind, what));
        if !rows.balances() {
            let what = format!(
                "read {} rows, but {} done, {} in quarantine and {} duplicate make {}",
                rows.n_in,
                rows.n_done,
                rows.n_quarantined,
                rows.n_duplicate,
                rows.n_done.saturating_add(rows.n_quarantined).saturating_add(rows.n_duplicate)
            );
            found(ProblemKind::Unbalanced, what);
        }
        let place = (shard.key.node.as_str(), shard.key.shard_index);
        let n_entries = self.n_quarantined.get(&place).copied().unwrap_or(0);
        if n_entries != rows.n_quarantined {
            let what = format!("counts {} rows in quarantine, where {n_entries} are", rows.n_quarantined);
            found(ProblemKind::WrongQuarantine, what);
        }
        let Some(node) = self.nodes.get(shard.key.node.as_str()) else { return problems };
        if let Some((n_rows, source)) = self.rows_upstream(node, shard)
            && n_rows != rows.n_in
        {
            found(ProblemKind::WrongInput, format!("read {} rows, {source} has {n_rows}", rows.n_in));
        }
        if let (true, Some(file)) = (node.one_to_one && shard.key.shard_index != OPENING, shard.files.first())
            && file.n_rows != rows.n_done
        {
            let what = format!(
                "wrote {} rows to `{}` for {} done, one for each was due",
                file.n_rows, file.table, rows.n_done
            );
            found(ProblemKind::WrongFanOut, what);
        }
        problems
    }

    /// The rows that a shard has to treat, and where they stand; `None` where that cannot be counted, now or ever. What
    /// stands upstream is taken as committed: whether its files hold it is a question for itself.
    fn rows_upstream(&self, node: &NodeFacts, shard: &ShardStatus) -> Option<(u64, String)> {
        if shard.key.shard_index == OPENING {
            // The listing is what the node was cut by.
            let slices = self.shards(&node.name).filter_map(|shard| shard.slice.as_ref());
            return Some((slices.map(|slice| slice.n_rows).sum(), "what its shards were cut from".to_owned()));
        }
        match &node.rows_from {
            RowsFrom::Slice => shard.slice.as_ref().map(|slice| (slice.n_rows, "its slice of the listing".to_owned())),
            RowsFrom::Same { node, table } => {
                let upstream = self.by_node.get(node.as_str())?.get(&shard.key.shard_index)?;
                Some((rows_of(upstream, table)?, format!("`{table}` of {node} shard {}", shard.key.shard_index)))
            }
            RowsFrom::All { node, table } => {
                let n_rows: Option<u64> = self.shards(node).map(|upstream| rows_of(upstream, table)).sum();
                Some((n_rows?, format!("`{table}` of {node}")))
            }
            RowsFrom::Work => None,
        }
    }

    /// Shards that the catalog lacks.
    pub(super) fn check_node(&self, node: &NodeFacts) -> Option<Problem> {
        let what = match &node.rows_from {
            RowsFrom::Slice => self.gap_in_slices(node),
            RowsFrom::Same { node: upstream, .. } if node.is_aligned => {
                let has = |index: &i64| self.by_node.get(node.name.as_str()).is_some_and(|own| own.contains_key(index));
                let missing = self.by_node.get(upstream.as_str())?.keys().find(|index| !has(index));
                // Before a run reached the node it has no shards at all.
                missing
                    .filter(|_| self.by_node.contains_key(node.name.as_str()))
                    .map(|index| format!("has no shard {index}, as {upstream} has"))
            }
            _ => None,
        }?;
        Some(Problem {
            kind: ProblemKind::MissingShard,
            node: Some(node.name.clone()),
            shard_index: None,
            path: None,
            what,
            help: "the next `run` lays the plan anew, and makes it".to_owned(),
            repairs: Vec::new(),
            is_marked: false,
        })
    }

    /// The slices of a node must cover its listing.
    fn gap_in_slices(&self, node: &NodeFacts) -> Option<String> {
        let mut end = 0;
        let mut path = None;
        for shard in self.shards(&node.name) {
            let slice = shard.slice.as_ref()?;
            if slice.offset != end {
                return Some(format!("no shard has rows {end} to {} of the listing", slice.offset.max(end)));
            }
            end += slice.n_rows;
            path = Some(&slice.path);
        }
        let n_rows = *self.facts.listings.get(path?)?.as_ref().ok()?;
        (n_rows != end).then(|| format!("its shards have {end} rows, its listing {n_rows}"))
    }
}

/// The rows of a table of a committed shard.
fn rows_of(shard: &ShardStatus, table: &str) -> Option<u64> {
    if shard.state != ShardState::Committed {
        return None;
    }
    Some(shard.files.iter().find(|file| file.table == table)?.n_rows)
}

/// The sums of a node.
pub(super) fn node_audit(facts: &Facts, books: &Books<'_>, node: &NodeFacts) -> NodeAudit {
    let mut audit = NodeAudit { node: node.name.clone(), stage: node.stage.clone(), ..NodeAudit::default() };
    for shard in books.shards(&node.name) {
        match shard.state {
            ShardState::Committed => {
                audit.n_committed += 1;
                audit.n_in += shard.rows.n_in;
                audit.n_done += shard.rows.n_done;
                audit.n_quarantined += shard.rows.n_quarantined;
                audit.n_duplicate += shard.rows.n_duplicate;
                audit.n_out += shard.files.first().map_or(0, |file| file.n_rows);
                audit.n_bytes += shard.files.iter().map(|file| file.n_bytes).sum::<u64>();
                continue;
            }
            ShardState::Failed => audit.n_failed_shards += 1,
            _ => audit.n_pending_shards += 1,
        }
        match books.rows_upstream(node, shard) {
            Some((n_rows, _)) => {
                audit.n_pending += n_rows;
                audit.n_in += n_rows;
            }
            None => audit.n_unknown_shards += 1,
        }
    }
    for entry in facts.quarantine.iter().filter(|entry| entry.node == node.name) {
        *audit.quarantined.entry(entry.row.class.to_string()).or_default() += 1;
    }
    audit.verdicts = facts.verdicts.get(&node.name).cloned();
    audit
}
