//! `score`: numbers about candidates, from which filters decide. The stage is a node for each scorer, so that one more
//! computes only itself, and a last one that puts their columns into the table `scores`.
//!
//! CLIP and DINO run as ONNX where the model's folder has it (onnxruntime where its library is found, else tract), and
//! on the engine where it has not. Pictures are decoded while the models run on those before them. What a row comes out
//! as does not depend on the rows beside it.

mod compile;
mod config;
mod encoders;
mod gather;
mod known;
mod measure;
mod models;
mod overlap;
mod real_images;
mod rows;
mod settings;
mod towers;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::{ClipText, Roles, ScoreConfig, Scorer};
pub use real_images::{Encoder, RealImages, RealImagesError, Subject, real_images};
pub use settings::{Architecture, ModelFacts, model_of};

use crate::models::ModelStore;

/// The stage kind.
#[derive(Clone)]
pub struct ScoreKind {
    models: Arc<dyn ModelStore>,
}

impl ScoreKind {
    /// A kind that finds its models by `models`.
    #[must_use]
    pub fn new(models: Arc<dyn ModelStore>) -> Self {
        Self { models }
    }
}

impl StageKind for ScoreKind {
    fn kind(&self) -> &'static str {
        "score"
    }

    fn about(&self) -> &'static str {
        "scores candidates: CLIP against text and reference, DINO against the reference, background, sharpness, a hash"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(ScoreConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.config()?, self.models.as_ref(), context)
    }
}
