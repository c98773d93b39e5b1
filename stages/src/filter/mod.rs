//! `filter`: rules over score columns become verdicts. A rejected row is a verdict with its reason, not a missing row: other
//! thresholds need no new scores.

mod config;
mod rules;
mod scores;
mod threshold;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, StageDecl, StageKind, Work};
pub use config::{FilterConfig, Missing, Preset, RuleConfig};
use rules::Rules;
use serde_json::json;
pub use threshold::set_threshold;

use crate::tables;

/// Raised when the same scores come to give other verdicts.
const OUTPUT_VERSION: u32 = 1;

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterKind;

impl StageKind for FilterKind {
    fn kind(&self) -> &'static str {
        "filter"
    }

    fn about(&self) -> &'static str {
        "accepts or rejects rows by their scores, with the first rule that failed as the reason"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(FilterConfig)
    }

    fn compile(&self, stage: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let config: FilterConfig = stage.config()?;
        let rules = Rules::new(&config)?;
        let Some(id_column) = tables::id_column(&config.reads) else {
            let issue = ConfigIssue::new("/reads", format!("rows of `{}` cannot be filtered", config.reads));
            return Err(vec![issue.with_help("write references, pairs or candidates")]);
        };
        Ok(vec![NodeDecl {
            part: None,
            output_version: OUTPUT_VERSION,
            settings: json!({ "reads": config.reads, "rules": rules.text(), "missing": config.missing }),
            reads: vec![
                Read::aligned(&config.reads).with_columns([id_column]),
                Read::aligned(tables::SCORES).from_every().with_columns(rules.columns()),
            ],
            writes: vec![tables::verdicts(id_column)],
            bounds: Bounds::Aligned,
            work: Work::Rows(Arc::new(work::Filter { id_column, rules, missing: config.missing })),
        }])
    }
}
