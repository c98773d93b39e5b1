//! Rows that were kept out for benchmarks, as the catalog has them in quarantine: what is told of them, and whether their
//! stage stops for them.

use cafe_pipeline::catalog::QuarantineEntry;
use cafe_pipeline::plan::Plan;
use cafe_pipeline::stage::ErrorClass;
use cafe_pipeline::text::counted;
use serde::Serialize;
use serde_json::Value;

use super::config::{Benchmark, OnMatch};
use super::marks;

/// Rows that a message names.
const N_NAMED: usize = 10;

/// What to do about rows for which a stage stops.
pub const ADVICE: &str = "take them out of the source, or write `on_match = \"quarantine\"` to go on without them";

/// Rows of a stage that were kept out for one benchmark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptOut {
    /// The stage.
    pub stage: String,
    /// The benchmark, as the manifest calls it.
    pub benchmark: String,
    /// What follows from it.
    pub on_match: OnMatch,
    /// The rows' ids in the stage's source, such as paths of files.
    pub rows: Vec<String>,
}

impl KeptOut {
    /// What was found, and in which stage.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}: {}", self.stage, found(&self.benchmark, &self.rows))
    }

    /// Whether the stage stops for them.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.on_match == OnMatch::Refuse
    }
}

/// The nodes of `plan` that compare what comes in with benchmarks.
#[must_use]
pub fn guarded(plan: &Plan) -> Vec<String> {
    let stages = plan.manifest.stages.iter().filter(|stage| !named(&stage.config).is_empty());
    stages.flat_map(|stage| plan.nodes_of_stage(&stage.name)).collect()
}

/// What of `quarantined` was kept out by the stages of `plan`, by stage and benchmark in the order of the manifest.
#[must_use]
pub fn kept_out(plan: &Plan, quarantined: &[QuarantineEntry]) -> Vec<KeptOut> {
    let mut all = Vec::new();
    for stage in &plan.manifest.stages {
        let (benchmarks, nodes) = (named(&stage.config), plan.nodes_of_stage(&stage.name));
        let own = quarantined.iter().filter(|entry| nodes.contains(&entry.node));
        all.extend(by_benchmark(&benchmarks, own).into_iter().map(|(benchmark, rows)| KeptOut {
            stage: stage.name.clone(),
            benchmark: benchmark.name.clone(),
            on_match: benchmark.on_match,
            rows,
        }));
    }
    all
}

/// Why a stage with these `benchmarks` stops, where its scan has rows in quarantine for one that asks for it.
pub(crate) fn objection(benchmarks: &[Benchmark], quarantined: &[QuarantineEntry]) -> Option<String> {
    let refused: Vec<String> = by_benchmark(benchmarks, quarantined)
        .into_iter()
        .filter(|(benchmark, _)| benchmark.on_match == OnMatch::Refuse)
        .map(|(benchmark, rows)| found(&benchmark.name, &rows))
        .collect();
    (!refused.is_empty()).then(|| format!("{}; {ADVICE}", refused.join("; ")))
}

/// The benchmarks that the keys of a stage name: none where it is of a kind that has no such key.
fn named(config: &Value) -> Vec<Benchmark> {
    config.get("benchmarks").and_then(|named| serde_json::from_value(named.clone()).ok()).unwrap_or_default()
}

/// Each of `benchmarks` for which there are rows, with their ids.
fn by_benchmark<'a, 'b>(
    benchmarks: &'b [Benchmark],
    quarantined: impl IntoIterator<Item = &'a QuarantineEntry>,
) -> Vec<(&'b Benchmark, Vec<String>)> {
    let mut found: Vec<(&Benchmark, Vec<String>)> = benchmarks.iter().map(|one| (one, Vec::new())).collect();
    for entry in quarantined.into_iter().filter(|entry| entry.row.class == ErrorClass::Benchmark) {
        // One that was renamed since is not known by its name any more: what it kept out counts for the strictest.
        let place = found.iter().position(|(one, _)| marks::is_about(&entry.row.message, &one.name));
        let place = place.or_else(|| found.iter().position(|(one, _)| one.on_match == OnMatch::Refuse)).unwrap_or(0);
        if let Some((_, rows)) = found.get_mut(place) {
            rows.push(entry.row.row_id.clone());
        }
    }
    found.retain(|(_, rows)| !rows.is_empty());
    found
}

fn found(benchmark: &str, rows: &[String]) -> String {
    let mut text = format!("{} kept out for the benchmark {benchmark}: ", counted(rows.len() as u64, "row"));
    text.push_str(&rows.iter().take(N_NAMED).map(String::as_str).collect::<Vec<_>>().join(", "));
    if rows.len() > N_NAMED {
        text.push_str(&format!(" and {} more", rows.len() - N_NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use cafe_pipeline::catalog::QuarantineRow;
    use serde_json::json;

    use super::*;

    fn benchmarks(policies: &[(&str, &str)]) -> Vec<Benchmark> {
        let one = |(name, on_match): &(&str, &str)| json!({ "name": name, "path": "bench", "on_match": on_match });
        let config = json!({ "benchmarks": policies.iter().map(one).collect::<Vec<_>>() });
        named(&config)
    }

    fn entry(row_id: &str, class: ErrorClass, benchmark: &str) -> QuarantineEntry {
        let message = format!("nearly equals 0.png{}distance 3, benchmark_distance is 10", marks::about(benchmark));
        let row = QuarantineRow { row: 0, row_id: row_id.to_owned(), class, message };
        QuarantineEntry { node: "collect.scan".to_owned(), shard_index: 0, row }
    }

    fn ids<'a>(found: &[(&'a Benchmark, Vec<String>)]) -> Vec<(&'a str, String)> {
        found.iter().map(|(benchmark, rows)| (benchmark.name.as_str(), rows.join(" "))).collect()
    }

    #[test]
    fn rows_are_told_by_the_benchmark_that_kept_them_out() {
        let benchmarks = benchmarks(&[("dogs", "quarantine"), ("cats", "quarantine"), ("cats of dogs", "quarantine")]);
        let entries = [
            entry("a", ErrorClass::Benchmark, "cats"),
            entry("b", ErrorClass::Corrupt, "cats"),
            entry("c", ErrorClass::Benchmark, "cats of dogs"),
            entry("d", ErrorClass::Benchmark, "cats"),
        ];
        let found = by_benchmark(&benchmarks, &entries);
        assert_eq!(ids(&found), [("cats", "a d".to_owned()), ("cats of dogs", "c".to_owned())]);
        assert_eq!(objection(&benchmarks, &entries), None);
    }

    #[test]
    fn only_what_is_refused_stops_and_the_message_says_which_rows() {
        let benchmarks = benchmarks(&[("dogs", "quarantine"), ("cats", "refuse")]);
        let cats: Vec<QuarantineEntry> =
            (0..12).map(|n| entry(&format!("{n}.png"), ErrorClass::Benchmark, "cats")).collect();
        let message = objection(&benchmarks, &cats).unwrap();
        let wanted = "12 rows kept out for the benchmark cats: 0.png, 1.png, 2.png, 3.png, 4.png, 5.png, 6.png, 7.png, \
                      8.png, 9.png and 2 more; take them out of the source, or";
        assert!(message.starts_with(wanted), "{message}");
        assert_eq!(objection(&benchmarks, &[entry("a", ErrorClass::Benchmark, "dogs")]), None);
        // It was called so when the scan was made.
        assert!(objection(&benchmarks, &[entry("a", ErrorClass::Benchmark, "old")]).is_some());
    }

    #[test]
    fn a_key_of_that_name_that_means_something_else_is_no_benchmark() {
        assert!(named(&json!({ "benchmarks": 3 })).is_empty() && named(&json!({})).is_empty());
    }
}
