//! Training: the loss of Eq. 3 and its gradients are summed, clipped and applied; averages are kept; and all of it can be
//! put down and taken up.

mod accumulate;
mod adamw;
mod adamw_state;
mod clip;
mod diffusion;
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
pub use ema::{Ema, EmaConfig, EmaWarmUp};
pub use encoded::{EncodedPairs, EncodedRows};
pub use learning_rate::{Decay, LearningRate};
pub use settings::DiffusionSettings;
pub use state::{Progress, ResumePoint};
pub use trainer::{DiffusionParts, DiffusionTrainer, StepReport};

#[cfg(test)]
mod tests;
