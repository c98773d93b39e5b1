//! `imagine`: reference images that the base text-to-image model makes of classes and prompts (the paper's object domain).
//!
//! One node; two where a detector is given: `draw`, and a last one that looks at what was drawn. So another score or label costs a look
//! at each image, and not the images.

mod compile;
mod config;
mod subjects;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{ImagineConfig, SingleSubject, Unfit};

use crate::models::ModelStore;

/// The stage kind.
#[derive(Clone)]
pub struct ImagineKind(Arc<dyn ModelStore>);

impl ImagineKind {
    /// With the models of `store`.
    pub fn new(store: Arc<dyn ModelStore>) -> Self {
        Self(store)
    }
}

impl StageKind for ImagineKind {
    fn kind(&self) -> &'static str {
        "imagine"
    }

    fn about(&self) -> &'static str {
        "makes reference images of classes by the base text-to-image model"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(ImagineConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.config()?, self.0.as_ref(), context)
    }
}
