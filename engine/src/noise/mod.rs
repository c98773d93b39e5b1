//! Noise: where it comes from, how much of it a timestep has, how it is taken away again, and under which guidance.

mod seed;

pub use seed::Noise;
