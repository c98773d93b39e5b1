//! Compares the books with what was found.

use std::collections::BTreeMap;

use super::balance::{Books, node_audit};
use super::cost;
use super::facts::{Facts, FileFacts};
use super::report::{AuditReport, NodeAudit, Problem, ProblemKind, Repair};
use crate::catalog::{ShardFile, ShardState, ShardStatus, shard_digest};
use crate::text::counted;

/// Said of everything that `run` makes again.
const REMAKE: &str = "`audit --verify` marks the shard, and the next `run` makes it again";

/// The report on `facts`.
pub(super) fn judge(facts: &Facts) -> AuditReport {
    let books = Books::new(facts);
    let mut problems = Vec::new();
    for shard in facts.shards.iter().filter(|shard| shard.state == ShardState::Committed) {
        for file in &shard.files {
            problems.extend(check_file(facts, shard, file));
        }
        problems.extend(books.check_shard(shard));
        problems.extend(check_lineage(facts, &books, shard));
    }
    for node in &facts.nodes {
        problems.extend(books.check_node(node));
    }
    problems.extend(check_listings(facts));
    problems.extend(check_ids(facts));
    problems.extend(check_releases(facts));

    let nodes: Vec<NodeAudit> = facts.nodes.iter().map(|node| node_audit(facts, &books, node)).collect();
    let n_accepted = nodes.iter().rev().find_map(|node| Some(node.verdicts.as_ref()?.n_accepted));
    AuditReport {
        balances: problems.is_empty(),
        verified: facts.verified,
        stages: cost::by_stage(facts, n_accepted),
        nodes,
        n_accepted,
        problems,
        notes: facts.notes.clone(),
        orphans: facts.orphans.clone(),
        n_releases: facts.releases.len() as u64,
        n_invalidated: 0,
    }
}

/// A problem of a shard, which making it again solves.
pub(super) fn of_shard(shard: &ShardStatus, kind: ProblemKind, what: String) -> Problem {
    Problem {
        kind,
        node: Some(shard.key.node.clone()),
        shard_index: Some(shard.key.shard_index),
        path: None,
        what,
        help: REMAKE.to_owned(),
        repairs: vec![Repair::Invalidate { shard_id: shard.shard_id }],
        is_marked: false,
    }
}

/// The first thing wrong with a file: what follows from it need not be said.
fn check_file(facts: &Facts, shard: &ShardStatus, file: &ShardFile) -> Option<Problem> {
    let (kind, what) = match facts.files.get(&file.path)? {
        FileFacts::Missing => (ProblemKind::MissingFile, "is not there".to_owned()),
        FileFacts::Unreadable(error) => (ProblemKind::Unreadable, format!("cannot be read: {error}")),
        FileFacts::Found { n_bytes, .. } if *n_bytes != file.n_bytes => {
            (ProblemKind::WrongSize, format!("has {}, {} were committed", counted(*n_bytes, "byte"), file.n_bytes))
        }
        FileFacts::Found { digest: Some(digest), .. } if *digest != file.digest => (
            ProblemKind::WrongDigest,
            format!("has other bytes than were committed (digest {digest}, not {})", file.digest),
        ),
        FileFacts::Found { n_rows: Err(error), .. } => {
            (ProblemKind::Unreadable, format!("is no Parquet file that can be read: {error}"))
        }
        FileFacts::Found { n_rows: Ok(n_rows), .. } if *n_rows != file.n_rows => {
            (ProblemKind::WrongRows, format!("has {}, {} were committed", counted(*n_rows, "row"), file.n_rows))
        }
        FileFacts::Found { .. } => return None,
    };
    Some(Problem { path: Some(file.path.clone()), ..of_shard(shard, kind, what) })
}

/// A shard must have been made from the bytes that its inputs have now.
fn check_lineage<'a>(
    facts: &'a Facts,
    books: &'a Books<'_>,
    shard: &'a ShardStatus,
) -> impl Iterator<Item = Problem> + 'a {
    let entries = facts.lineage.get(&shard.shard_id).map_or(&[][..], Vec::as_slice);
    entries.iter().filter_map(move |entry| {
        // An input that is being made again says later, by its digest, whether its readers must be.
        let input = books.committed(entry.input_shard_id)?;
        if shard_digest(&input.files) == entry.digest {
            return None;
        }
        let what = format!(
            "was made from other bytes of {} shard {} than that has now (digest {}, now {})",
            entry.node,
            entry.shard_index,
            entry.digest,
            shard_digest(&input.files)
        );
        Some(of_shard(shard, ProblemKind::WrongLineage, what))
    })
}

fn check_listings(facts: &Facts) -> impl Iterator<Item = Problem> {
    facts.listings.iter().filter_map(|(path, found)| {
        let fault = found.as_ref().err()?;
        let reader = facts.shards.iter().find(|shard| shard.slice.as_ref().is_some_and(|slice| slice.path == *path))?;
        let node = &reader.key.node;
        // A barrier's listing is made by the item that opens it.
        let opening = facts.shards.iter().find(|shard| shard.key.node == *node && shard.key.shard_index < 0);
        let opening = opening.filter(|shard| shard.state == ShardState::Committed);
        let mut repairs = vec![Repair::RemoveListing { path: path.clone() }];
        repairs.extend(opening.map(|shard| Repair::Invalidate { shard_id: shard.shard_id }));
        Some(Problem {
            kind: ProblemKind::DamagedListing,
            node: Some(node.clone()),
            shard_index: None,
            path: Some(path.clone()),
            what: format!("the listing that the node is cut by cannot be used: {fault}"),
            help: "`audit --verify` takes it away, and the next `run` lists again".to_owned(),
            repairs,
            is_marked: false,
        })
    })
}

fn check_ids(facts: &Facts) -> impl Iterator<Item = Problem> {
    facts.keys.iter().filter_map(|((node, table), keys)| {
        let duplicates = keys.duplicates();
        let first = duplicates.first()?;
        let example = format!(
            "row {} of shard {} has the id of row {} of shard {}",
            first.again.1, first.again.0, first.first.1, first.first.0
        );
        Some(Problem {
            kind: ProblemKind::DuplicateId,
            node: Some(node.clone()),
            shard_index: Some(first.again.0),
            path: None,
            what: format!(
                "{} of `{table}` stand again under an id that another row has: {example}",
                counted(duplicates.len() as u64, "row")
            ),
            // The same inputs would make the same ids: making the shard again helps only where its file is damaged,
            // and then its digest says so.
            help:
                "ids must tell rows apart; where the files are as they were committed, the stage made them so: remove \
                   the duplicates from its input, or correct the program that writes the ids"
                    .to_owned(),
            repairs: Vec::new(),
            is_marked: false,
        })
    })
}

fn check_releases(facts: &Facts) -> Vec<Problem> {
    let mut by_folder: BTreeMap<&str, &ShardStatus> = BTreeMap::new();
    for shard in facts.shards.iter().filter(|shard| shard.state == ShardState::Committed) {
        for file in &shard.files {
            if let Some(release) = facts.releases.iter().find(|release| within(&file.path, &release.record.path)) {
                by_folder.insert(&release.record.path, shard);
            }
        }
    }
    let mut problems = Vec::new();
    for release in &facts.releases {
        for (path, fault) in &release.faults {
            let publisher = by_folder.get(release.record.path.as_str());
            problems.push(Problem {
                kind: ProblemKind::DamagedRelease,
                node: publisher.map(|shard| shard.key.node.clone()),
                shard_index: None,
                path: Some(path.clone()),
                what: format!("release {} is not as it was published: {fault}", release.record.release_id),
                help: "put the release's folder back from a copy, or move it away and publish again".to_owned(),
                repairs: publisher.map(|shard| Repair::Invalidate { shard_id: shard.shard_id }).into_iter().collect(),
                is_marked: false,
            });
        }
    }
    problems
}

fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
