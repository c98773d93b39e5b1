//! `filter`: threshold rules over scores become `verdicts`. Rules are tried in order, and a rejected row names the first
//! that failed; scores and images stay, so that another threshold costs one pass over the scores. Of several candidates that
//! pass, `select` keeps the best.

mod bound;
mod compile;
mod config;
mod expression;
mod preset;
mod rule;
mod scores;
mod select;
mod threshold;
mod work;

#[cfg(test)]
mod select_tests;
#[cfg(test)]
mod tests;

pub use bound::{Bound, bound, explains};
use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{FilterConfig, FilterTable, Missing, RuleConfig, SelectConfig, Several};
pub use preset::{Preset, warnings};
pub use threshold::set_threshold;

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterKind;

impl StageKind for FilterKind {
    fn kind(&self) -> &'static str {
        "filter"
    }

    fn about(&self) -> &'static str {
        "accepts or rejects rows by rules over their scores, and says why"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(FilterConfig)
    }

    fn compile(&self, stage: &StageDecl, _context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Ok(vec![compile::compile(&stage.config()?)?])
    }
}
