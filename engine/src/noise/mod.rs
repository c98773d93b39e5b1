//! Noise: where it comes from, how much of it a timestep has, how it is taken away again, and under which guidance.

mod config;
mod ddim;
mod ddpm;
mod dpm_solver;
mod guidance;
mod min_snr;
mod sampler;
mod schedule;
mod seed;

pub use config::{BetaSchedule, NoiseConfig, PredictionType, TimestepSpacing, VarianceType};
pub use ddim::{DdimScheduler, variance as ddim_variance};
pub use ddpm::{AncestralScheduler, DdpmScheduler};
pub use dpm_solver::{DpmSolverConfig, DpmSolverScheduler, DpmSolverStep, FinalSigma};
pub use guidance::{Branch, Guidance, Order, guide_text, rescale as rescale_guidance};
pub use sampler::{Memory, Sampler, SamplerConfig, SamplerKind};
pub use schedule::{NoiseSchedule, timesteps};
pub use seed::Noise;
