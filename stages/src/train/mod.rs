//! `train`: CAFE's UNet, trained on what was published (Eq. 3), so that a round of self-distillation is a plain DAG: synthesize → score →
//! filter → publish → train → synthesize with the weights that came of it. The command `train diffusion` does the same on any pairs.
//!
//! Weights are placed under `weights/`, in a folder named by their digest, and `weights` says where. They are known when the
//! training is done, and not when a plan is made: what depends on them is known by the training that makes them.

mod compile;
mod config;
mod curve;
mod diffusion;
mod encode;
mod error;
mod initial;
mod release;
mod run_loop;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub use config::TrainConfig;
pub use diffusion::{Diffusion, DiffusionPlan, Initialiser, Start};
pub use encode::{Encoding, Pictures, encode};
pub use error::TrainError;
pub use run_loop::{Watch, train};

use crate::models::ModelStore;

/// The stage kind.
#[derive(Clone)]
pub struct TrainKind(Arc<dyn ModelStore>);

impl TrainKind {
    /// With the models of `store`.
    pub fn new(store: Arc<dyn ModelStore>) -> Self {
        Self(store)
    }
}

impl StageKind for TrainKind {
    fn kind(&self) -> &'static str {
        "train"
    }

    fn about(&self) -> &'static str {
        "trains CAFE's UNet on a release, for a next round of synthesis"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(TrainConfig)
    }

    /// What weights draw is not scored or filtered by what they learned from.
    fn ends_lineage(&self) -> bool {
        true
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.config()?, self.0.as_ref(), context)
    }
}
