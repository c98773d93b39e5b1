//! A report: where a project stands, as one page that needs nothing else — no script, no font, no link; its pictures are in
//! it — and as JSON for programs.
//!
//! Frames and facts in, text out: nothing is written here, and the same state makes the same bytes. What is shown follows
//! from the tables and columns that there are, so that a project without candidates, scores or dialogues has a shorter page.
//! Tables are scanned for the columns that are needed; pictures are read row by row, for the rows that are shown.
//!
//! All that comes from data goes through the template's escaping, charts included: they are geometry here, and become SVG in
//! `page.html`. The page forbids itself scripts and requests as well.

mod chart;
mod costs;
mod dialogues;
mod faults;
mod funnel;
mod head;
mod lookup;
mod page;
mod samples;
mod scores;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod yields;

use cafe_pipeline::audit::AuditReport;
use cafe_pipeline::catalog::{LedgerEntry, PlanRecord, QuarantineEntry, ReleaseRecord};
use cafe_pipeline::query::{QueryError, QuerySource};
use polars::error::PolarsError;
use serde::Serialize;

use tables::Tables;

/// What is known of a project, besides its tables.
#[derive(Debug)]
pub struct Facts {
    /// The manifest's file name.
    pub manifest: String,
    /// The seed of everything drawn.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
    /// The plan that was run last.
    pub plan: PlanRecord,
    /// Rows and costs, recounted.
    pub audit: AuditReport,
    /// All attempts.
    pub ledger: Vec<LedgerEntry>,
    /// Rows in quarantine.
    pub quarantine: Vec<QuarantineEntry>,
    /// Releases, oldest first.
    pub releases: Vec<ReleaseRecord>,
    /// The tables.
    pub source: QuerySource,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A table cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A table is not what its name promises.
    #[error("a table cannot be summed up: {0}; if a shard is damaged, `audit --verify` finds it")]
    Table(#[from] PolarsError),
    /// A defect.
    #[error("the page cannot be written: {0}")]
    Page(#[from] minijinja::Error),
}

/// All that the page shows. As JSON it lacks the pictures, and the geometry of the charts.
#[derive(Debug, Serialize)]
pub struct Report {
    head: head::Head,
    funnel: Vec<funnel::Step>,
    scores: Vec<scores::Scores>,
    yields: Option<yields::Yields>,
    sweep: Option<sweep::Sweep>,
    samples: Option<samples::Samples>,
    dialogues: Option<dialogues::Dialogues>,
    costs: costs::Costs,
    faults: faults::Faults,
}

impl Report {
    /// Sums up. Blocks, and uses all threads of polars.
    ///
    /// # Errors
    /// See [`ReportError`]. A picture that cannot be decoded is no error: the page says so in its place.
    pub fn new(facts: &Facts) -> Result<Self, ReportError> {
        let tables = Tables::new(facts)?;
        let units = tables.units()?;
        let judged = scores::judged(&tables)?;
        Ok(Self {
            head: head::head(facts, &units),
            funnel: funnel::funnel(facts, &tables)?,
            yields: yields::yields(facts, &tables, &units)?,
            sweep: sweep::sweep(&tables, &units)?,
            samples: samples::samples(&tables, &judged)?,
            scores: judged.iter().map(scores::Scores::new).collect::<Result<_, _>>()?,
            dialogues: dialogues::dialogues(&tables)?,
            costs: costs::costs(facts),
            faults: faults::faults(facts),
        })
    }

    /// The page.
    ///
    /// # Errors
    /// A defect of the template.
    pub fn to_html(&self) -> Result<String, ReportError> {
        Ok(page::html(self)?)
    }

    /// The figures.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        page::json(self)
    }
}

/// A text cut to what a page has room for. Captions come from outside, and may have any length.
fn shown(text: &str) -> String {
    const SHOWN: usize = 400;
    cafe_pipeline::text::truncated(&cafe_pipeline::text::one_line(text), SHOWN)
}

/// A number with the digits that matter: `0.312`, `41.7`, `1.2e-7`.
fn figure(value: f64) -> String {
    let size = value.abs();
    if value == value.trunc() && size < 1e6 {
        format!("{value:.0}")
    } else if (0.001..1e6).contains(&size) {
        let digits = if size < 1.0 { 3 } else { 2_usize.saturating_sub(size.log10() as usize) };
        format!("{value:.digits$}")
    } else {
        format!("{value:.2e}")
    }
}
