//! Layers: the operations of [`crate::op`] with their weights, named as the reference names them.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::op;

/// y = x·Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Loads `weight` (`n_out`, `n_in`) and `bias` (`n_out`).
    ///
    /// # Errors
    /// When they are missing, or have other shapes.
    pub fn new(n_in: usize, n_out: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: weights.get((n_out, n_in), "weight")?, bias: Some(weights.get(n_out, "bias")?) })
    }

    /// Loads `weight` (`n_out`, `n_in`) alone.
    ///
    /// # Errors
    /// When it is missing, or has another shape.
    pub fn without_bias(n_in: usize, n_out: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: weights.get((n_out, n_in), "weight")?, bias: None })
    }

    /// `x` is (…, `n_in`); returns (…, `n_out`).
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        op::linear(x, &self.weight, self.bias.as_ref())
    }
}

/// A convolution with a square kernel.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Loads `weight` (`n_out`, `n_in`, `kernel`, `kernel`) and `bias` (`n_out`).
    ///
    /// # Errors
    /// When they are missing, or have other shapes.
    pub fn new(
        n_in: usize,
        n_out: usize,
        kernel: usize,
        (stride, padding): (usize, usize),
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let weight = weights.get((n_out, n_in, kernel, kernel), "weight")?;
        Ok(Self { weight, bias: Some(weights.get(n_out, "bias")?), stride, padding })
    }

    /// Loads `weight` (`n_out`, `n_in`, `kernel`, `kernel`) alone.
    ///
    /// # Errors
    /// When it is missing, or has another shape.
    pub fn without_bias(
        n_in: usize,
        n_out: usize,
        kernel: usize,
        (stride, padding): (usize, usize),
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self { weight: weights.get((n_out, n_in, kernel, kernel), "weight")?, bias: None, stride, padding })
    }

    /// `x` is (B, `n_in`, H, W).
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        op::conv2d(x, &self.weight, self.bias.as_ref(), self.stride, self.padding)
    }

    /// As [`Self::forward`], with `shift` (B, `n_out`) added to every pixel, which costs no pass of its own.
    ///
    /// # Errors
    /// When a shape does not fit, or of the tensors.
    pub fn forward_shifted(&self, x: &Tensor, shift: &Tensor) -> Result<Tensor> {
        let shift = match &self.bias {
            Some(bias) => shift.broadcast_add(bias)?,
            None => shift.clone(),
        };
        op::conv2d(x, &self.weight, Some(&shift), self.stride, self.padding)
    }
}

/// Layer norm over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Loads `weight` and `bias` (`width`).
    ///
    /// # Errors
    /// When they are missing, or have other shapes.
    pub fn new(width: usize, eps: f64, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: weights.get(width, "weight")?, bias: weights.get(width, "bias")?, eps })
    }

    /// `x` is (…, `width`).
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        op::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// Group norm.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    n_groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Loads `weight` and `bias` (`n_channels`).
    ///
    /// # Errors
    /// When they are missing, or have other shapes.
    pub fn new(n_groups: usize, n_channels: usize, eps: f64, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: weights.get(n_channels, "weight")?, bias: weights.get(n_channels, "bias")?, n_groups, eps })
    }

    /// `x` is (B, `n_channels`, …).
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        op::group_norm(x, self.n_groups, &self.weight, &self.bias, self.eps)
    }

    /// Group norm, then SiLU: one pass over `x` (B, `n_channels`, …).
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        op::group_norm_silu(x, self.n_groups, &self.weight, &self.bias, self.eps)
    }
}
