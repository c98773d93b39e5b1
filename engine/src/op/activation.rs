//! Activations.

use candle_core::{Result, Tensor};

/// GELU with the exact error function, as `torch.nn.functional.gelu` computes it; any shape.
///
/// # Errors
/// Of the tensors.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// SiLU, x·σ(x); any shape.
///
/// # Errors
/// Of the tensors.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// OpenAI CLIP's approximation of GELU, x·σ(1.702·x); any shape.
///
/// # Errors
/// Of the tensors.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
}
