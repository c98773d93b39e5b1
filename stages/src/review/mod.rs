//! `review`: what people say of candidates, as a CSV file that any tool can write. It is one more filter: what is downstream
//! takes what both the filters above and the reviewers accept. `cafe-data review` writes the list of what waits, and takes
//! filled-in lists.

mod cell;
mod compile;
mod config;
mod export;
mod record;
mod sheet;
mod work;

#[cfg(test)]
mod tests;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{Agreement, ReviewConfig, Unreviewed};
pub use export::{Exported, ReviewError, SHEET, candidates, export};
pub use sheet::{Merged, Mistake, Sheet};
pub(crate) use work::NOT_REVIEWED;

/// The stage kind's name.
pub const KIND: &str = "review";

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReviewKind;

impl StageKind for ReviewKind {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn about(&self) -> &'static str {
        "accepts or rejects candidates as people say in a CSV file"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(ReviewConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Ok(vec![compile::compile(&stage.config()?, context)?])
    }
}
