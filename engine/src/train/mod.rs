//! Training: gradients of a loss are summed, clipped and applied; averages are kept; and all of it can be put down and taken
//! up ([`Trainer`]). Eq. 3's loss is here; Eq. 2's is in [`crate::assistant`], PromptNet's in [`crate::profusion`].

mod accumulate;
mod adamw;
mod adamw_state;
mod clip;
mod diffusion;
mod diffusion_trainer;
mod ema;
mod encoded;
mod in_place;
mod learning_rate;
pub(crate) mod order;
mod settings;
mod state;
mod tensors_file;
mod trainer;

pub use accumulate::{Accumulator, Gradients};
pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_grad_norm;
pub use diffusion::{DiffusionBatch, DiffusionDraw, diffusion_loss};
pub use diffusion_trainer::{DiffusionParts, DiffusionTrainer};
pub use ema::{Ema, EmaConfig, EmaWarmUp};
pub use encoded::{EncodedRows, EncodedTable};
pub use learning_rate::{Decay, LearningRate};
pub use settings::{DiffusionSettings, TrainSettings};
pub use state::{Progress, ResumePoint};
pub use trainer::{StepReport, Trainer, Training, config_digest};

#[cfg(test)]
mod tests;
