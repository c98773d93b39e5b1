//! `instruct`: instructions from templates are drawn for references and become `pairs`. Templates are files of the
//! project; what is drawn for a reference depends on the seed, the reference and the templates, never on the shard.

mod book;
mod census;
mod compile;
mod config;
mod draw;
mod template;
mod words;
mod work;

#[cfg(test)]
mod tests;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use compile::{HeldOut, held_out};
pub use config::{InstructConfig, Pairing};

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstructKind;

impl StageKind for InstructKind {
    fn kind(&self) -> &'static str {
        "instruct"
    }

    fn about(&self) -> &'static str {
        "draws instructions from templates for each reference image"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(InstructConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.config()?, context)
    }
}
