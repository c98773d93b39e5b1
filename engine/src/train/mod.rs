//! Training: losses, the optimiser, and what is needed to go on after a stop.

pub mod diffusion;
