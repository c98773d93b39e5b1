//! `retrieve`: pictures w that show what an instruction asks for, whoever the subject is (Eq. 4 mixes F(w) and F(x)). They are of the
//! base text-to-image model, which draws the caption, or of a collection; those that CLIP finds nearest to the caption become `donors`.

mod compile;
mod config;
mod donors;
mod generated;
mod index;
mod nearest;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub(crate) use config::half_an_hour;
pub use config::{RetrieveConfig, SourceConfig};

use crate::models::ModelStore;

/// The stage kind.
#[derive(Clone)]
pub struct RetrieveKind(Arc<dyn ModelStore>);

impl RetrieveKind {
    /// With the models of `store`.
    pub fn new(store: Arc<dyn ModelStore>) -> Self {
        Self(store)
    }
}

impl StageKind for RetrieveKind {
    fn kind(&self) -> &'static str {
        "retrieve"
    }

    fn about(&self) -> &'static str {
        "makes the pictures w of Eq. 4, which show what an instruction asks for"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(RetrieveConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.config()?, self.0.as_ref(), context)
    }
}
