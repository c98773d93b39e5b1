//! From the keys of a `publish` stage to its nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, ConfigIssue, NodeDecl, Read, Work};
use serde_json::json;

use super::config::{Dialogues, KeepRejects, PublishConfig, ScoresConfig, Subject};
use super::list::ListAccepted;
use super::pack::Pack;
use super::release::WriteRelease;
use super::{said, table};
use crate::tables;

/// Raised when the same rows and settings come to make other bytes of `quadruplets`.
const PACK_VERSION: u32 = 1;
/// Raised when the same rows and settings come to make other bytes of a release.
pub(super) const RELEASE_VERSION: u32 = 1;
/// The part that gathers rows.
const PACK: &str = "pack";

/// Checks `config` and compiles it.
pub(super) fn compile(stage: &str, config: PublishConfig) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    check(&config)?;
    let config = Arc::new(config);
    let name = config.release.clone().unwrap_or_else(|| stage.to_owned());
    // What decides which rows are published, and with what; their packing does not depend on the rest.
    let mut chosen = json!({
        "of": config.of,
        "filtered": config.filtered,
        "scores": config.scores,
        "licences": config.licences,
        "require_licence": config.require_licence,
    });
    // To ask for what is read anyway changes nothing; a release without it keeps the settings it always had.
    if let (Dialogues::Ignore, Some(chosen)) = (config.dialogues, chosen.as_object_mut()) {
        chosen.insert("dialogues".to_owned(), json!(config.dialogues));
    }
    let selected = selected(&config);
    let mut packed = selected.clone();
    if config.scores.any() {
        let scores = Read::all(tables::SCORES).from_every();
        packed.push(match &config.scores {
            ScoresConfig::Named(names) => scores.with_columns(names),
            ScoresConfig::All(_) => scores,
        });
    }
    let pack = NodeDecl {
        part: Some(PACK),
        output_version: PACK_VERSION,
        settings: chosen.clone(),
        reads: packed,
        writes: vec![table::quadruplets(config.of)],
        bounds: Bounds::Barrier(Arc::new(ListAccepted { config: Arc::clone(&config) })),
        work: Work::Rows(Arc::new(Pack { of: config.of })),
    };
    let mut reads = vec![Read::all(tables::QUADRUPLETS).from_part(PACK)];
    reads.extend(selected);
    let release = NodeDecl {
        part: None,
        output_version: RELEASE_VERSION,
        settings: json!({
            "release": name,
            "chosen": chosen,
            "file_rows": config.file_rows,
            "max_file_bytes": config.max_file_bytes,
            "card": config.card,
        }),
        reads,
        writes: vec![table::releases()],
        bounds: Bounds::Single,
        work: Work::Whole(Arc::new(WriteRelease { name, config })),
    };
    Ok(vec![pack, release])
}

/// The tables that decide which rows are accepted.
fn selected(config: &PublishConfig) -> Vec<Read> {
    let mut reads: Vec<Read> = config
        .of
        .chain()
        .iter()
        .map(|table| Read::all(*table).with_columns(table::columns_of(config.of, table)))
        .collect();
    if config.filtered {
        // Verdicts may be about the published table, or about what its rows refer to.
        let verdicts = Read::all(tables::VERDICTS).from_every();
        reads.push(verdicts.with_columns(["accepted", "reason", "thresholds"]));
    }
    reads.extend(dialogues(config));
    reads
}

/// The table that says what is said about candidates, if it is wanted.
fn dialogues(config: &PublishConfig) -> Option<Read> {
    let read = Read::all(tables::DIALOGUES).from_every().with_columns(said::COLUMNS);
    let read = if config.dialogues == Dialogues::Require { read } else { read.optional() };
    config.speaks().then_some(read)
}

fn check(config: &PublishConfig) -> Result<(), Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    if let Some(licences) = &config.licences {
        match (&licences.allow, &licences.deny) {
            (Some(_), Some(_)) => issues.push(
                ConfigIssue::new("/licences", "has both `allow` and `deny`")
                    .with_help("keep `allow`: what it does not name is left out anyway"),
            ),
            (None, None) => issues.push(
                ConfigIssue::new("/licences", "has neither `allow` nor `deny`")
                    .with_help(r#"for example licences = { allow = ["CC0-1.0", "CC-BY-4.0"] }, or leave it out"#),
            ),
            _ => {}
        }
        for (key, names) in [("allow", &licences.allow), ("deny", &licences.deny)] {
            let Some(names) = names else { continue };
            if names.is_empty() {
                issues.push(
                    ConfigIssue::new(format!("/licences/{key}"), "names no licence")
                        .with_help("name one, or leave it out"),
                );
            }
            for (index, _) in names.iter().enumerate().filter(|(_, name)| name.trim().is_empty()) {
                issues.push(
                    ConfigIssue::new(format!("/licences/{key}/{index}"), "is empty")
                        .with_help("rows without a licence are left out by `require_licence = true`"),
                );
            }
        }
    }
    if let ScoresConfig::Named(names) = &config.scores {
        if names.is_empty() {
            issues.push(ConfigIssue::new("/scores", "names no score").with_help("write `scores = false` for none"));
        }
        let mut seen = BTreeSet::new();
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !seen.insert(*name)) {
            issues.push(ConfigIssue::new(format!("/scores/{index}"), format!("names `{name}` a second time")));
        }
    }
    if config.dialogues == Dialogues::Require && config.of != Subject::Candidates {
        let message = format!("only candidates have dialogues, and `of` is `{}`", config.of.table());
        issues.push(ConfigIssue::new("/dialogues", message).with_help("take it out, or write `of = \"candidates\"`"));
    }
    if config.keep_rejects != KeepRejects::Image {
        let why = match (config.of, config.filtered) {
            (Subject::Candidates, true) => None,
            (Subject::Candidates, false) => Some("nothing is rejected where `filtered` is false".to_owned()),
            (of, _) => Some(format!("only candidates can be made again, and `of` is `{}`", of.table())),
        };
        let issue = |why| ConfigIssue::new("/keep_rejects", why).with_help("take it out");
        issues.extend(why.map(issue));
    }
    let texts = [&config.card.title, &config.card.licence];
    for (key, text) in ["title", "licence"].into_iter().zip(texts) {
        if text.as_ref().is_some_and(|text| text.trim().is_empty() || text.contains(['\n', '\r'])) {
            issues.push(
                ConfigIssue::new(format!("/card/{key}"), "must be one line of text").with_help("or leave it out"),
            );
        }
    }
    if issues.is_empty() { Ok(()) } else { Err(issues) }
}
