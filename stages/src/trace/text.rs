//! A trace for people.

use std::fmt::Write;

use cafe_pipeline::text::{Align, bytes, count, duration, one_line, table, truncated};
use serde_json::Value;

use super::{Link, Trace};

/// Longest value; JSON has it whole.
const WIDTH: usize = 300;

/// The trace as text.
#[must_use]
pub fn to_text(trace: &Trace) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, trace);
    text
}

fn write(text: &mut String, trace: &Trace) -> std::fmt::Result {
    for link in &trace.chain {
        write_link(text, link, link.id == trace.id)?;
    }
    for (name, below) in &trace.made_of_it {
        let more = if below.n > below.ids.len() as u64 { ", …" } else { "" };
        writeln!(text, "{} {name}{} of it: {}{more}\n", count(below.n), plural(below.n), below.ids.join(", "))?;
    }
    if !trace.releases.is_empty() {
        writeln!(text, "in the releases: {}\n", trace.releases.join(", "))?;
    }
    let headers = [
        "made by",
        "shard",
        "attempt",
        "run",
        "outcome",
        "on",
        "wall",
        "device",
        "tokens in",
        "out",
        "rows",
        "wall per row",
    ];
    let left = [0, 4, 5];
    let alignment: Vec<Align> =
        (0..headers.len()).map(|at| if left.contains(&at) { Align::Left } else { Align::Right }).collect();
    let rows: Vec<Vec<String>> = trace
        .attempts
        .iter()
        .map(|attempt| {
            let entry = &attempt.entry;
            vec![
                entry.node.clone(),
                entry.shard_index.to_string(),
                entry.attempt_id.to_string(),
                entry.run.to_string(),
                entry.outcome.clone(),
                entry.backend.clone().unwrap_or_default(),
                duration(entry.wall_ms),
                duration(entry.cost.device_ms),
                count(entry.cost.prompt_tokens),
                count(entry.cost.completion_tokens),
                count(attempt.n_rows),
                format!("{:.1} ms", attempt.wall_ms_per_row),
            ]
        })
        .collect();
    text.push_str(&table(&headers, &rows, &alignment));
    Ok(())
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn write_link(text: &mut String, link: &Link, is_wanted: bool) -> std::fmt::Result {
    writeln!(text, "{} {}{}", link.kind, one_line(&link.id), if is_wanted { "  (asked for)" } else { "" })?;
    for row in &link.rows {
        writeln!(text, "  {}, by {}, shard {}, row {}", row.table, row.node, row.shard_index, row.row)?;
        let width = row.values.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in row.values.iter().filter(|(_, value)| !value.is_null() && **value != link.id) {
            writeln!(text, "    {name:width$}  {}", shown(value))?;
        }
    }
    if link.rows.is_empty() {
        writeln!(text, "  no row of the current plan bears this id")?;
    }
    for entry in &link.quarantine {
        let message = truncated(&one_line(&entry.row.message), WIDTH);
        writeln!(text, "  in quarantine, by {}: {}: {message}", entry.node, entry.row.class)?;
    }
    text.push('\n');
    Ok(())
}

/// A value on one line; a picture by its size and digest.
fn shown(value: &Value) -> String {
    let picture = |value: &Value| {
        let bytes_of = value.get("bytes")?;
        let (n, digest) = (bytes_of.get("n_bytes")?.as_u64()?, bytes_of.get("digest")?.as_str()?);
        let path = value.get("path").and_then(Value::as_str).map_or_else(String::new, |path| format!("{path}, "));
        Some(format!("{path}{}, {digest}", bytes(n)))
    };
    let text = match value {
        Value::String(text) => text.clone(),
        value => picture(value).unwrap_or_else(|| value.to_string()),
    };
    truncated(&one_line(&text), WIDTH)
}
