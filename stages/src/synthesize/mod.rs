//! `synthesize`: target images x~. Round 0 has ProFusion, which is tuned to each reference; later rounds have CAFE itself, by
//! Eq. 4: x~ = G(E(x), αF(w) + (1−α)F(x)), with a picture w, or with H(s) of its assistant in the place of F(w).

mod assistant;
mod candidates;
mod compile;
mod config;
mod profusion;
mod recent;
mod seen;
mod sid;
mod trained;
mod weights;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{GeneratorConfig, SynthesizeConfig};

use crate::models::ModelStore;

/// The stage kind.
#[derive(Clone)]
pub struct SynthesizeKind(Arc<dyn ModelStore>);

impl SynthesizeKind {
    /// With the models of `store`.
    pub fn new(store: Arc<dyn ModelStore>) -> Self {
        Self(store)
    }
}

impl StageKind for SynthesizeKind {
    fn kind(&self) -> &'static str {
        "synthesize"
    }

    fn about(&self) -> &'static str {
        "makes target images of each reference's subject: by ProFusion, by CAFE itself, or by its assistant"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(SynthesizeConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.config()?, self.0.as_ref(), context)
    }
}
