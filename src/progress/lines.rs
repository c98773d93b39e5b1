//! A line now and then for each node that moves: for logs of batch systems.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cafe_pipeline::executor::Event;

use super::{Counts, Expected, Shown, Tally, sentence};
use crate::format::{count, duration};

/// A node is spoken of so often.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    tally: Tally,
    latest: BTreeMap<String, Counts>,
    /// Node → when it was last spoken of, with its rows then.
    said: BTreeMap<String, (Instant, u64)>,
}

/// Shows lines.
pub(super) fn show(nodes: &[(String, Expected)]) -> Shown {
    let expected: BTreeMap<String, Expected> = nodes.iter().cloned().collect();
    let started = Instant::now();
    let state = Arc::new(Mutex::new(State::default()));
    let end = {
        let (state, expected) = (Arc::clone(&state), expected.clone());
        move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            // What was never spoken of, or has moved since.
            for (node, counts) in std::mem::take(&mut state.latest) {
                if state.said.get(&node).is_none_or(|(_, n_rows)| *n_rows != counts.n_rows) {
                    eprintln!("{}", line(&node, counts, expected.get(&node), None, started.elapsed()));
                }
            }
        }
    };
    let sink = move |event: &Event| {
        if let Some(text) = sentence(event) {
            eprintln!("{text}");
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((node, counts)) = state.tally.add(event) else { return };
        state.latest.insert(node.to_owned(), counts);
        let now = Instant::now();
        let (said, n_before) = *state.said.entry(node.to_owned()).or_insert((started, 0));
        if now.duration_since(said) >= PERIOD {
            state.said.insert(node.to_owned(), (now, counts.n_rows));
            let rate = (counts.n_rows - n_before.min(counts.n_rows)) as f64 / now.duration_since(said).as_secs_f64();
            drop(state);
            eprintln!("{}", line(node, counts, expected.get(node), Some(rate), started.elapsed()));
        }
    };
    Shown { sink: Arc::new(sink), end: Box::new(end) }
}

fn line(node: &str, counts: Counts, expected: Option<&Expected>, rate: Option<f64>, since: Duration) -> String {
    let expected = expected.copied().unwrap_or_default();
    let n_rows = expected.n_done + counts.n_rows;
    let mut text = format!("{node}: {}", count(n_rows));
    let total = expected.n_rows.filter(|total| *total >= n_rows && *total > 0);
    if let Some(total) = total {
        text.push_str(&format!("/{} rows ({:.0} %)", count(total), 100.0 * n_rows as f64 / total as f64));
    } else {
        text.push_str(" rows");
    }
    let rate = rate.unwrap_or_else(|| counts.n_rows as f64 / since.as_secs_f64().max(1e-3));
    text.push_str(&format!(", {rate:.1} rows/s"));
    if let Some(left) = total.map(|total| total - n_rows).filter(|left| *left > 0 && rate > 0.0) {
        text.push_str(&format!(", {} left", duration((left as f64 / rate * 1000.0) as u64)));
    }
    text + &counts.suffix()
}
