//! The report for a terminal.

use std::fmt::Write as _;

use super::report::{AuditReport, NodeAudit, Problem};
use crate::text::{Align, bytes, count, counted, duration, table};

/// Problems shown in full; `--json` has them all.
const MAX_PROBLEMS: usize = 50;

/// The report as text.
#[must_use]
pub fn to_text(report: &AuditReport) -> String {
    let mut text = rows(report);
    for part in [quarantine(report), rejected(report), cost(report)] {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&part);
        }
    }
    text.push('\n');
    for note in &report.notes {
        line(&mut text, &format!("note: {note}"));
    }
    if report.orphans.n_files > 0 {
        let (files, size) = (counted(report.orphans.n_files, "file"), bytes(report.orphans.n_bytes));
        let first = report.orphans.examples.first().map_or("", String::as_str);
        let what = "that no shard points at (being written now, or left behind; the end of a run sweeps them)";
        line(&mut text, &format!("note: {files} ({size}) {what}, such as {first}"));
    }
    for problem in report.problems.iter().take(MAX_PROBLEMS) {
        line(&mut text, &format!("{}\n  {}", headline(problem), problem.help_now()));
    }
    if report.problems.len() > MAX_PROBLEMS {
        line(
            &mut text,
            &format!("… and {} more problems; --json tells them all", report.problems.len() - MAX_PROBLEMS),
        );
    }
    line(&mut text, &verdict(report));
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

impl Problem {
    /// What is left to be done.
    fn help_now(&self) -> &str {
        if self.is_marked { "marked: the next `run` makes it again" } else { &self.help }
    }
}

fn headline(problem: &Problem) -> String {
    let place = match (&problem.node, problem.shard_index) {
        (Some(node), Some(index)) => format!("{node} shard {index}: "),
        (Some(node), None) => format!("{node}: "),
        _ => String::new(),
    };
    let path = problem.path.as_ref().map_or_else(String::new, |path| format!("{path} "));
    format!("problem: {place}{path}{}", problem.what)
}

fn verdict(report: &AuditReport) -> String {
    let checked =
        if report.verified { "every file read whole" } else { "sizes and footers; --verify reads every file" };
    if report.balances {
        return format!("balanced: every row is accounted for ({checked})");
    }
    let n_problems = counted(report.problems.len() as u64, "problem");
    let marked = match report.n_invalidated {
        0 => String::new(),
        n => format!("; {} marked to be made again by the next `run`", counted(n, "shard")),
    };
    format!("does not balance: {n_problems} ({checked}){marked}")
}

fn rows(report: &AuditReport) -> String {
    let headers = ["node", "shards", "rows in", "done", "quarantined", "duplicate", "pending", "rows out", "size"];
    let cells: Vec<Vec<String>> = report
        .nodes
        .iter()
        .map(|node| {
            let numbers = [node.n_in, node.n_done, node.n_quarantined, node.n_duplicate];
            let mut row = vec![node.node.clone(), shards(node)];
            row.extend(numbers.map(count));
            row.extend([pending(node), count(node.n_out), bytes(node.n_bytes)]);
            row
        })
        .collect();
    let mut alignment = [Align::Right; 9];
    alignment[0] = Align::Left;
    table(&headers, &cells, &alignment)
}

fn shards(node: &NodeAudit) -> String {
    let n_shards = node.n_committed + node.n_pending_shards + node.n_failed_shards;
    match (n_shards == node.n_committed, node.n_failed_shards) {
        (true, _) => count(n_shards),
        (false, 0) => format!("{}/{}", count(node.n_committed), count(n_shards)),
        (false, n_failed) => format!("{}/{} ({} failed)", count(node.n_committed), count(n_shards), count(n_failed)),
    }
}

fn pending(node: &NodeAudit) -> String {
    if node.n_unknown_shards == 0 { count(node.n_pending) } else { format!("{}+?", count(node.n_pending)) }
}

fn quarantine(report: &AuditReport) -> String {
    let rows = report.nodes.iter().flat_map(|node| {
        node.quarantined.iter().map(|(class, n_rows)| vec![node.node.clone(), class.clone(), count(*n_rows)])
    });
    optional(&["node", "quarantined as", "rows"], rows.collect())
}

fn rejected(report: &AuditReport) -> String {
    let rows = report.nodes.iter().flat_map(|node| {
        let accepted = node.verdicts.iter().map(|verdicts| ("(accepted)", verdicts.n_accepted));
        let rejected = node.verdicts.iter().flat_map(|verdicts| &verdicts.rejected);
        let all = accepted.chain(rejected.map(|(reason, n_rows)| (reason.as_str(), *n_rows)));
        all.map(|(reason, n_rows)| vec![node.node.clone(), reason.to_owned(), count(n_rows)]).collect::<Vec<_>>()
    });
    optional(&["node", "rejected by", "rows"], rows.collect())
}

fn optional(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() { String::new() } else { table(headers, &rows, &[Align::Left, Align::Left, Align::Right]) }
}

fn cost(report: &AuditReport) -> String {
    let headers = [
        "stage",
        "attempts",
        "lost",
        "wall",
        "of it lost",
        "device",
        "of it lost",
        "wall s/accepted",
        "device s/accepted",
    ];
    let per_row = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3}"));
    let cells: Vec<Vec<String>> = report
        .stages
        .iter()
        .filter(|stage| stage.n_attempts > 0)
        .map(|stage| {
            let mut row = vec![stage.stage.clone(), count(stage.n_attempts), count(stage.n_lost)];
            row.extend([stage.wall_ms, stage.lost_wall_ms, stage.device_ms, stage.lost_device_ms].map(duration));
            row.extend([stage.wall_secs_per_accepted, stage.device_secs_per_accepted].map(per_row));
            row
        })
        .collect();
    if cells.is_empty() {
        return String::new();
    }
    let mut alignment = [Align::Right; 9];
    alignment[0] = Align::Left;
    table(&headers, &cells, &alignment)
}
