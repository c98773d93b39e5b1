//! Two-dimensional convolution.

use candle_core::{Result, Tensor};

/// Convolves `x` (B, C_in, H, W) with `weight` (C_out, C_in, k, k) and adds `bias` (C_out). Returns (B, C_out, H', W').
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: usize) -> Result<Tensor> {
    composed(x, weight, bias, stride, padding)
}

fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: usize) -> Result<Tensor> {
    let y = x.conv2d(weight, padding, stride, 1, 1)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
        None => Ok(y),
    }
}
