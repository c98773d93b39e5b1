//! Activations.

use candle_core::{D, Result, Tensor};

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

/// GEGLU of `x` (…, 2C): its first half times the exact GELU of its second. Returns (…, C).
///
/// # Errors
/// When the last dimension is odd, or of the tensors.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    let [value, gate] = halves.as_slice() else { candle_core::bail!("GEGLU of {:?}: nothing to halve", x.dims()) };
    value * gelu(gate)?
}
