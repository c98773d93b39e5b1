//! What changed since the last run, for people.

use std::fmt::Write;

use cafe_pipeline::plan::Explanation;
use serde_json::Value;

use crate::format::{count, duration};

/// The explanation as text.
pub(super) fn text(explanation: &Explanation, manifest: &str) -> String {
    let mut text = String::new();
    if explanation.changes.is_empty() && explanation.stale.is_empty() {
        return "nothing changed since the last run\n".to_owned();
    }
    for change in &explanation.changes {
        let _ = match (&change.before, &change.after) {
            (None, Some(kind)) if change.pointer.is_empty() => writeln!(text, "{}: new ({})", change.node, value(kind)),
            (Some(_), None) if change.pointer.is_empty() => writeln!(text, "{}: gone", change.node),
            (before, after) => {
                let show = |side: &Option<Value>| side.as_ref().map_or("nothing".to_owned(), value);
                writeln!(text, "{}: {}  {} → {}", change.node, change.pointer, show(before), show(after))
            }
        };
    }
    if explanation.stale.is_empty() {
        text.push_str("nothing that was made is invalidated\n");
    }
    for stale in &explanation.stale {
        let _ = write!(
            text,
            "invalidates {} shards of {} ({} rows, which took {}",
            count(stale.n_shards),
            stale.node,
            count(stale.n_rows),
            duration(stale.wall_ms),
        );
        let device =
            if stale.device_ms > 0 { format!(", {} on devices", duration(stale.device_ms)) } else { String::new() };
        let _ = writeln!(text, "{device})");
    }
    if let Some(stale) = explanation.stale.first() {
        let _ = writeln!(
            text,
            "to keep such shards all the same: cafe-data plan -m {manifest} --adopt {} --reason \"…\"",
            stale.node.split('.').next().unwrap_or(&stale.node),
        );
    }
    text
}

fn value(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}
