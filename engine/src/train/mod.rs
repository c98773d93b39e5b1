//! Training: gradients are summed, clipped and applied; averages are kept; and all of it can be put down and taken up.

mod accumulate;
mod adamw;
mod adamw_state;
mod clip;
mod ema;
mod in_place;
mod learning_rate;
mod state;
mod tensors_file;

pub use accumulate::{Accumulator, Gradients};
pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_grad_norm;
pub use ema::{Ema, EmaConfig, EmaWarmUp};
pub use learning_rate::{Decay, LearningRate};
pub use state::{Progress, ResumePoint};

#[cfg(test)]
mod tests;
