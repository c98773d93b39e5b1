//! The models of CAFE (arXiv 2312.03045), for inference and training: tensors in, tensors out.
//!
//! An image flows through it like this: [`picture`] makes pixels of it, [`encoder`] turns pixels into E(x) and F(x),
//! [`unet`] denoises latents under both, guided by [`noise`], and [`vae`] turns latents back into pixels.
//! [`train`] fits the UNet to pairs (Eq. 3). [`cafe`] composes all of it. [`profusion`] makes the first pairs.
//!
//! Nothing here draws random numbers of its own: noise is an argument, made from seeds by [`noise`].
//! Nothing here knows of SQL, HTTP, or the pipeline.

pub mod assistant;
pub mod block;
pub mod cafe;
pub mod config;
pub mod encoder;
pub mod error;
pub mod language;
pub mod layer;
pub mod noise;
pub mod op;
pub mod picture;
pub mod profusion;
pub mod train;
pub mod unet;
pub mod vae;
pub mod verify;
pub mod weights;

#[cfg(test)]
mod golden;

pub use candle_core::{DType, Device, Tensor};
pub use error::{EngineError, Result};
