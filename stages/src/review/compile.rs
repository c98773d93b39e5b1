//! From the keys of a `review` stage to its node.

use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, Work};
use serde_json::json;

use super::config::ReviewConfig;
use super::sheet::Sheet;
use super::work::ReviewWork;
use crate::join::Join;
use crate::tables;

/// Raised when the same candidates and verdicts come to make other rows.
const OUTPUT_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(config: &ReviewConfig, context: &CompileContext<'_>) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let is_there = context.resolve(&config.verdicts).try_exists().unwrap_or(true);
    let (sheet, digest) = if is_there {
        let (text, digest) = context.read_text("/verdicts", &config.verdicts).map_err(|issue| vec![issue])?;
        let sheet = Sheet::parse(&text).map_err(|mistakes| {
            let issue = |mistake| ConfigIssue::new("/verdicts", format!("{}, {mistake}", config.verdicts.display()));
            mistakes.into_iter().map(issue).collect::<Vec<_>>()
        })?;
        (sheet, Some(digest))
    } else {
        // Nobody has reviewed anything yet.
        (Sheet::default(), None)
    };
    Ok(NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings: json!({ "verdicts": digest, "unreviewed": config.unreviewed, "agreement": config.agreement }),
        reads: vec![
            Read::aligned(tables::CANDIDATES),
            Read::aligned(tables::PAIRS),
            Read::aligned(tables::VERDICTS).from_every().with_columns(["accepted", "reason", "thresholds"]).optional(),
        ],
        writes: vec![tables::verdicts("candidate_id"), tables::reviews()],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(ReviewWork {
            sheet,
            unreviewed: config.unreviewed,
            agreement: config.agreement,
            references: Join::new(tables::PAIRS, "pair_id", ["reference_id"]),
        })),
    })
}
