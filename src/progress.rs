//! How a run is shown while it goes: bars on a terminal, lines elsewhere, JSON lines for programs. All of it on stderr.

mod bars;
mod lines;
mod steps;
mod transfer;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};

use cafe_pipeline::executor::{Event, Sink};
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::Progress;

pub(crate) use steps::steps;
pub(crate) use transfer::{Transfer, transfer};

/// What is known of a node before the run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// Rows to read in all; `None` behind a barrier.
    pub(crate) n_rows: Option<u64>,
    /// Rows of shards made already.
    pub(crate) n_done: u64,
}

/// A consumer of events, and what must be called at the end.
pub(crate) struct Shown {
    /// To be given to the run.
    pub(crate) sink: Sink,
    end: Box<dyn FnOnce() + Send>,
}

impl Shown {
    /// Takes the bars away.
    pub(crate) fn end(self) {
        (self.end)();
    }
}

/// Starts to show the nodes in the order given.
pub(crate) fn show(how: Progress, nodes: &[(String, Expected)]) -> Shown {
    let how = match how {
        Progress::Auto if io::stderr().is_terminal() => Progress::Bars,
        Progress::Auto => Progress::Plain,
        how => how,
    };
    match how {
        Progress::Bars => bars::show(nodes),
        Progress::Json => Shown { sink: Arc::new(print_json), end: Box::new(|| {}) },
        Progress::None => Shown { sink: Arc::new(|_| {}), end: Box::new(|| {}) },
        Progress::Auto | Progress::Plain => lines::show(nodes),
    }
}

fn print_json(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        // Who reads it may be gone; the run goes on.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// What happened, as a sentence; `None` for what bars and counts show.
fn sentence(event: &Event) -> Option<String> {
    let shard = |node: &str, index: i64| {
        if index < 0 { format!("{node} (its listing)") } else { format!("{node}, shard {index}") }
    };
    Some(match event {
        Event::Planned { n_committed, n_pending, n_retired } => {
            let retired =
                if *n_retired > 0 { format!(", {n_retired} of the plan before are not needed") } else { String::new() };
            format!("plan: {n_pending} shards to make, {n_committed} made already{retired}")
        }
        Event::Reaped { n_shards } => format!("{n_shards} shards of workers that died are made again"),
        Event::Retrying { node, shard_index, after_ms, message } => {
            let node = shard(node, *shard_index);
            format!("{node}: {message}; tried again in {}", crate::format::duration(*after_ms))
        }
        Event::Failed { node, shard_index, message } => format!("{} failed: {message}", shard(node, *shard_index)),
        Event::Damaged { path, message } => format!("{path} is damaged ({message}); it is made again"),
        Event::PicturesNeeded { node, message, .. } => format!("{node}: {message}; these are made again"),
        Event::PicturesDropped { node, n_shards, n_bytes } => {
            let n_shards = cafe_pipeline::text::counted(*n_shards, "shard");
            let freed = crate::format::bytes(*n_bytes);
            format!("{node}: pictures of rejected rows were dropped from {n_shards}, which are {freed} smaller now")
        }
        Event::Isolated { node, shard_index } => {
            let node = shard(node, *shard_index);
            format!("{node}: processes died of it; its rows are tried in processes of their own")
        }
        Event::LeaseLost { node, shard_index } => {
            format!("{}: the lease was lost, the work is thrown away", shard(node, *shard_index))
        }
        Event::Stopped { stage, message } => format!("stage {stage} was stopped: {message}"),
        Event::Waiting { stage, message } => format!("stage {stage} waits: {message}"),
        Event::Stopping { reason } => format!("stopping: {reason}"),
        Event::Rows { .. } | Event::Committed { .. } | Event::Opened { .. } => return None,
    })
}

/// Counts of a node while the run goes.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    n_rows: u64,
    n_quarantined: u64,
    n_rejected: u64,
}

impl Counts {
    fn suffix(self) -> String {
        let mut text = String::new();
        if self.n_quarantined > 0 {
            text.push_str(&format!(", {} quarantined", crate::format::count(self.n_quarantined)));
        }
        if self.n_rejected > 0 {
            text.push_str(&format!(", {} rejected", crate::format::count(self.n_rejected)));
        }
        text
    }
}

/// Rows that were finished in this run, by node: rows seen while a shard was made, corrected when it is committed.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, (u64, Counts)>);

impl Tally {
    /// Takes an event in; gives the node's counts when they changed.
    fn add<'a>(&mut self, event: &'a Event) -> Option<(&'a str, Counts)> {
        match event {
            Event::Rows { node, n_rows } => {
                let (in_work, counts) = self.0.entry(node.clone()).or_default();
                *in_work += n_rows;
                Some((node, Counts { n_rows: counts.n_rows + *in_work, ..*counts }))
            }
            Event::Committed { node, shard_index, rows, n_rejected, .. } if *shard_index >= 0 => {
                let (in_work, counts) = self.0.entry(node.clone()).or_default();
                *in_work = in_work.saturating_sub(rows.n_in);
                counts.n_rows += rows.n_in;
                counts.n_quarantined += rows.n_quarantined;
                counts.n_rejected += n_rejected;
                Some((node, Counts { n_rows: counts.n_rows + *in_work, ..*counts }))
            }
            _ => None,
        }
    }
}

/// The bars on the screen now: log lines must not be written through them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Writes to stderr, above the bars if there are any.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match BARS.get() {
            Some(bars) => bars.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AboveBars {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Logs go to stderr; `RUST_LOG` overrides the verbosity.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,cafe_pipeline=debug,cafe_catalog=debug,cafe_stages=debug",
        _ => "debug,cafe_pipeline=trace,cafe_catalog=trace,cafe_stages=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(AboveBars)
        .init();
}

#[cfg(test)]
mod tests {
    use cafe_pipeline::catalog::RowCounts;

    use super::*;

    #[test]
    fn rows_are_not_counted_twice() {
        let mut tally = Tally::default();
        let rows = |n_rows| Event::Rows { node: "measure".to_owned(), n_rows };
        tally.add(&rows(10));
        tally.add(&rows(10));
        let rows_in = RowCounts { n_in: 20, n_done: 19, n_quarantined: 1, n_duplicate: 0 };
        let committed = Event::Committed {
            node: "measure".to_owned(),
            shard_index: 0,
            rows: rows_in,
            n_out: 19,
            n_rejected: 0,
            wall_ms: 5,
        };
        let (_, counts) = tally.add(&committed).unwrap();
        assert_eq!((counts.n_rows, counts.n_quarantined), (20, 1));
        let next = rows(5);
        assert_eq!(tally.add(&next).unwrap().1.n_rows, 25);
    }
}
