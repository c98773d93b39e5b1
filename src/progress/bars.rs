//! One bar per node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cafe_pipeline::executor::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{BARS, Expected, Shown, Tally, sentence};

const KNOWN: &str = "{prefix:>16} {bar:24.green/238} {human_pos:>9}/{human_len} rows {per_sec:>12}, {eta} left{msg}";
const UNKNOWN: &str = "{prefix:>16} {spinner} {human_pos:>9} rows {per_sec:>12}{msg}";

/// Shows bars.
pub(super) fn show(nodes: &[(String, Expected)]) -> Shown {
    let multi = BARS.get_or_init(MultiProgress::new).clone();
    let width = nodes.iter().map(|(node, _)| node.len()).max().unwrap_or(0);
    let bars: BTreeMap<String, ProgressBar> = nodes
        .iter()
        .map(|(node, expected)| {
            let bar = match expected.n_rows {
                Some(n_rows) => multi.add(ProgressBar::new(n_rows)).with_style(style(KNOWN)),
                None => multi.add(ProgressBar::new_spinner()).with_style(style(UNKNOWN)),
            };
            bar.set_prefix(format!("{node:>width$}"));
            bar.set_position(expected.n_done);
            // The rate is that of this run.
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(250));
            (node.clone(), bar)
        })
        .collect();
    let bars = Arc::new(bars);
    let base: BTreeMap<String, u64> = nodes.iter().map(|(node, expected)| (node.clone(), expected.n_done)).collect();
    let tally = Mutex::new(Tally::default());
    let sink = {
        let (bars, multi) = (Arc::clone(&bars), multi.clone());
        move |event: &Event| {
            if let Some((node, counts)) = tally.lock().unwrap_or_else(PoisonError::into_inner).add(event)
                && let Some(bar) = bars.get(node)
            {
                let n_rows = base.get(node).copied().unwrap_or(0) + counts.n_rows;
                if bar.length().is_some_and(|length| length < n_rows) {
                    bar.set_length(n_rows);
                }
                bar.set_position(n_rows);
                bar.set_message(counts.suffix());
            }
            if let Some(text) = sentence(event) {
                let _ = multi.println(text);
            }
        }
    };
    let end = move || {
        for bar in bars.values() {
            bar.finish_and_clear();
        }
        let _ = multi.clear();
    };
    Shown { sink: Arc::new(sink), end: Box::new(end) }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
