//! Blocks of convolutions that the VAE and the UNet are both made of, with diffusers' key names.

pub mod resnet;
pub mod sampling;

#[cfg(test)]
mod tests;

pub use resnet::{ResnetBlock2D, ResnetShape};
pub use sampling::{Downsample2D, DownsamplePadding, Upsample2D};
