//! Halving and doubling of height and width by convolution: diffusers' `Downsample2D` and `Upsample2D`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::layer::Conv2d;
use crate::op;

/// How the input of a [`Downsample2D`] is padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownsamplePadding {
    /// By one pixel on all four sides: the UNet.
    AllSides,
    /// By one pixel on the right and at the bottom: the VAE's encoder (`downsample_padding=0`).
    RightAndBottom,
}

/// A 3×3 convolution of stride 2.
#[derive(Clone, Debug)]
pub struct Downsample2D {
    conv: Conv2d,
    padding: DownsamplePadding,
}

impl Downsample2D {
    /// Loads `conv`, of `n_channels` in and out; `weights` are at `downsamplers.0`.
    ///
    /// # Errors
    /// When weights are missing, or have other shapes.
    pub fn new(n_channels: usize, padding: DownsamplePadding, weights: &VarBuilder<'_>) -> Result<Self> {
        let pixels = match padding {
            DownsamplePadding::AllSides => 1,
            DownsamplePadding::RightAndBottom => 0,
        };
        Ok(Self { conv: Conv2d::new(n_channels, n_channels, 3, (2, pixels), &weights.pp("conv"))?, padding })
    }

    /// `x` is (B, C, H, W). Returns (B, C, ⌈H/2⌉, ⌈W/2⌉) when padded on all sides, and (B, C, ⌊H/2⌋, ⌊W/2⌋) otherwise.
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.padding {
            DownsamplePadding::AllSides => self.conv.forward(x),
            DownsamplePadding::RightAndBottom => {
                self.conv.forward(&x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?)
            }
        }
    }
}

/// Every pixel repeated 2×2, then a 3×3 convolution.
#[derive(Clone, Debug)]
pub struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    /// Loads `conv`, of `n_channels` in and out; `weights` are at `upsamplers.0`.
    ///
    /// # Errors
    /// When weights are missing, or have other shapes.
    pub fn new(n_channels: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { conv: Conv2d::new(n_channels, n_channels, 3, (1, 1), &weights.pp("conv"))? })
    }

    /// `x` is (B, C, H, W). Returns (B, C, 2·H, 2·W).
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward(&op::upsample_nearest_2x(x)?)
    }
}
