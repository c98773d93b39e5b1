//! What project it is, and what state of it.

use serde::Serialize;

use super::tables::Units;
use super::{Facts, shown};

/// The head of the page.
#[derive(Debug, Serialize)]
pub(super) struct Head {
    manifest: String,
    version: String,
    seed: u64,
    /// Of the plan that was run last.
    plan: String,
    /// Runs that did work, by number.
    runs: Vec<i64>,
    /// From the first attempt's beginning to the last one's end, in UTC.
    began: Option<String>,
    ended: Option<String>,
    units: &'static str,
    n_units: usize,
    n_accepted: Option<u64>,
    /// Whether every row is where the books say.
    balances: bool,
    /// What the audit has to say besides.
    notes: Vec<String>,
    releases: Vec<Release>,
}

/// A release.
#[derive(Debug, Serialize)]
struct Release {
    id: String,
    n_rows: u64,
    digest: String,
    warnings: Vec<String>,
}

/// Gathers it.
pub(super) fn head(facts: &Facts, units: &Units) -> Head {
    let mut runs: Vec<i64> = facts.ledger.iter().map(|entry| entry.run).collect();
    runs.sort_unstable();
    runs.dedup();
    let began = facts.ledger.iter().map(|entry| entry.started_ms).min();
    let end = |entry: &cafe_pipeline::catalog::LedgerEntry| {
        entry.started_ms.saturating_add(i64::try_from(entry.wall_ms).unwrap_or(i64::MAX))
    };
    let releases = facts.releases.iter().map(|release| {
        let warnings = release.summary.get("warnings").and_then(|warnings| warnings.as_array());
        Release {
            id: release.release_id.clone(),
            n_rows: release.n_rows,
            digest: release.digest.to_hex(),
            warnings: warnings.into_iter().flatten().filter_map(|text| Some(shown(text.as_str()?))).collect(),
        }
    });
    Head {
        manifest: shown(&facts.manifest),
        version: facts.version.clone(),
        seed: facts.seed,
        plan: facts.plan.fingerprint.to_hex(),
        runs,
        began: began.map(utc),
        ended: facts.ledger.iter().map(end).max().map(utc),
        units: units.table,
        n_units: units.rows.height(),
        n_accepted: facts.audit.n_accepted,
        balances: facts.audit.balances(),
        notes: facts.audit.notes.iter().map(|note| shown(note)).collect(),
        releases: releases.collect(),
    }
}

/// Milliseconds since the Unix epoch as `2026-03-01 09:05 UTC`.
pub(crate) fn utc(ms: i64) -> String {
    let minutes = ms.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    // Years begin in March here, so that a leap day is a year's last: after Howard Hinnant's `civil_from_days`.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        let minute = 60_000;
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400_000 + 59 * minute), "2000-02-29 00:59 UTC");
        assert_eq!(utc(1_772_355_900_000), "2026-03-01 09:05 UTC");
        assert_eq!(utc(1_798_761_599_999), "2026-12-31 23:59 UTC");
        assert_eq!(utc(-minute), "1969-12-31 23:59 UTC");
    }
}
