//! `command`: any external program as a stage, in any language. It reads Parquet and writes Parquet; the contract is in
//! `manifests/adapters/README.md`.

mod argv;
mod candidates;
mod compile;
mod config;
mod conform;
mod contract;
mod exit;
mod oneshot;
mod pool;
mod process;
mod protocol;
mod serve;
mod summary;
mod work;
mod written;

#[cfg(test)]
mod tests;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{ColumnType, CommandConfig, FanOutConfig, Mode, Version};
pub use summary::{CommandSummary, argv_digest, commands_of, trust_digest};

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandKind;

impl StageKind for CommandKind {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn about(&self) -> &'static str {
        "runs a program of your own on batches of rows, Parquet in and Parquet out"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(CommandConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Ok(vec![compile::compile(stage.config()?, context)?])
    }
}
