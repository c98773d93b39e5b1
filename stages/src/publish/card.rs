//! The dataset card: YAML for programs, then Markdown for people.

use std::fmt::Write;

use super::config::{PublishConfig, Subject};
use super::features::{release_columns, type_word};
use super::files::FileRecord;
use super::summary::{Packed, Summary, licences};

/// Bounds of the size categories, with their words.
const SIZES: [(u64, &str); 8] = [
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
];

/// The line that says where the digests are. An export, whose files are others, has another.
pub(crate) const ON_FILES: &str =
    "`release.json` has the digest of every file, all counts, and where the rows come from.";
/// How the line begins that loads the rows.
pub(crate) const LOADING: &str = "rows = load_dataset(";

/// The card of a release with these files.
pub(super) fn text(config: &PublishConfig, summary: &Summary, packed: &Packed, files: &[FileRecord]) -> String {
    let mut card = String::new();
    // Writing to a String cannot fail.
    let _ = front_matter(&mut card, config, summary, packed, files);
    let _ = prose(&mut card, config, summary, packed);
    card
}

fn title<'a>(config: &'a PublishConfig, summary: &'a Summary) -> &'a str {
    config.card.title.as_deref().unwrap_or(&summary.release_id)
}

fn front_matter(
    card: &mut String,
    config: &PublishConfig,
    summary: &Summary,
    packed: &Packed,
    files: &[FileRecord],
) -> std::fmt::Result {
    writeln!(card, "---")?;
    writeln!(card, "pretty_name: {}", quoted(title(config, summary)))?;
    writeln!(card, "license: {}", quoted(&licence(config, packed)))?;
    for (key, values) in [("language", &config.card.languages), ("tags", &config.card.tags)] {
        if !values.is_empty() {
            writeln!(card, "{key}:")?;
            for value in values {
                writeln!(card, "- {}", quoted(value))?;
            }
        }
    }
    let size = SIZES.iter().find(|(bound, _)| summary.n_rows < *bound).map_or("10B<n<100B", |(_, word)| word);
    writeln!(card, "size_categories:\n- {size}")?;
    writeln!(card, "configs:\n- config_name: default\n  data_files:")?;
    let splits = splits(files);
    for (split, ..) in &splits {
        writeln!(card, "  - split: {}\n    path: {}", quoted(split), quoted(&format!("data/{split}-*.parquet")))?;
    }
    writeln!(card, "dataset_info:\n  features:")?;
    for (name, dtype) in release_columns(config.of, &packed.scores) {
        writeln!(card, "  - name: {}\n    dtype: {}", quoted(&name), type_word(&dtype))?;
    }
    writeln!(card, "  splits:")?;
    for (split, n_rows, n_bytes) in &splits {
        writeln!(card, "  - name: {}\n    num_bytes: {n_bytes}\n    num_examples: {n_rows}", quoted(split))?;
    }
    let total: u64 = splits.iter().map(|(.., n_bytes)| n_bytes).sum();
    writeln!(card, "  download_size: {total}\n  dataset_size: {total}")?;
    writeln!(card, "---")
}

/// Splits in the order of their files, with rows and bytes.
fn splits(files: &[FileRecord]) -> Vec<(&str, u64, u64)> {
    let mut splits: Vec<(&str, u64, u64)> = Vec::new();
    for file in files {
        let Some(split) = file.split.as_deref() else { continue };
        let n_rows = file.n_rows.unwrap_or(0);
        match splits.last_mut() {
            Some((last, rows, bytes)) if *last == split => {
                *rows += n_rows;
                *bytes += file.n_bytes;
            }
            _ => splits.push((split, n_rows, file.n_bytes)),
        }
    }
    splits
}

/// The licence of the whole.
fn licence(config: &PublishConfig, packed: &Packed) -> String {
    let licences = licences(packed);
    match (&config.card.licence, licences.first()) {
        (Some(licence), _) => licence.clone(),
        (None, Some(only)) if licences.len() == 1 && only != "(none)" => only.to_lowercase(),
        _ => "other".to_owned(),
    }
}

/// A text as YAML. The strings of JSON are strings of YAML, whatever they contain.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn prose(card: &mut String, config: &PublishConfig, summary: &Summary, packed: &Packed) -> std::fmt::Result {
    writeln!(card, "\n# {}", title(config, summary))?;
    for warning in &summary.warnings {
        writeln!(card, "\n> **Note:** {warning}.")?;
    }
    if let Some(description) = &config.card.description {
        writeln!(card, "\n{}", description.trim_end())?;
    }
    writeln!(card, "\nRelease `{}`, {} rows. {}", summary.release_id, summary.n_rows, rows_are(config.of))?;
    writeln!(card, "{ON_FILES}")?;
    writeln!(card, "\n```python\nfrom datasets import load_dataset\n")?;
    writeln!(card, "{LOADING}\"path/to/{}\")\n```", summary.release_id)?;
    if let Some(models) =
        summary.body.get("dialogues").and_then(|said| said.get("models")).and_then(|of| of.as_object())
    {
        let models: Vec<String> = models.keys().map(|model| format!("`{model}`")).collect();
        writeln!(
            card,
            "\n`y` and `y_tilde` were written by a language model ({}) that saw captions only.",
            models.join(", ")
        )?;
    }
    let headings = [
        ("splits", "Splits"),
        ("classes", "Classes"),
        ("families", "Families of instructions"),
        ("rounds", "Rounds"),
        ("generators", "Generators"),
        ("licences", "Licences of the reference images"),
    ];
    for (key, heading) in headings {
        let mut counted: Vec<(&str, u64)> = packed.counted(key).collect();
        counted.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts(card, heading, &counted)?;
    }
    let rejected = summary.body.get("rows").and_then(|rows| rows.get("rejected")).and_then(|rows| rows.as_object());
    let mut rejected: Vec<(&str, u64)> =
        rejected.into_iter().flatten().map(|(reason, n)| (reason.as_str(), n.as_u64().unwrap_or(0))).collect();
    rejected.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts(card, "Rows left out", &rejected)?;
    if let Some(citation) = &config.card.citation {
        writeln!(card, "\n## Citation\n\n```\n{}\n```", citation.trim_end())?;
    }
    Ok(())
}

fn rows_are(of: Subject) -> &'static str {
    match of {
        Subject::Candidates => {
            "Each has a reference image, what the user asks for (`y`), the assistant's reply (`y_tilde`, null where \
             there is no dialogue), and the target image."
        }
        Subject::Pairs => "Each has a reference image and what the user asks for (`y`).",
        Subject::References => "Each has a reference image.",
    }
}

/// A table of the most frequent values.
fn counts(card: &mut String, heading: &str, counted: &[(&str, u64)]) -> std::fmt::Result {
    const SHOWN: usize = 20;
    if counted.is_empty() {
        return Ok(());
    }
    writeln!(card, "\n## {heading}\n\n| | rows |\n|---|---:|")?;
    for (value, n) in counted.iter().take(SHOWN) {
        writeln!(card, "| {} | {n} |", value.replace('|', "\\|").replace(['\n', '\r'], " "))?;
    }
    if counted.len() > SHOWN {
        let rest: u64 = counted.iter().skip(SHOWN).map(|(_, n)| n).sum();
        writeln!(card, "| ({} more) | {rest} |", counted.len() - SHOWN)?;
    }
    Ok(())
}
