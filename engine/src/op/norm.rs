//! Normalisations.

use candle_core::{D, Result, Tensor};

/// Layer norm over the last dimension of `x` (…, C), with `weight` and `bias` (C).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    // Not candle's own: it has no gradient.
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Group norm of `x` (B, C, …) in `n_groups` groups of channels, with `weight` and `bias` (C).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn group_norm(x: &Tensor, n_groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let dims = x.dims();
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    let grouped = x.reshape((batch, n_groups, x.elem_count() / batch / n_groups))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape(dims)?;
    let mut by_channel = vec![1; dims.len()];
    if let Some(axis) = by_channel.get_mut(1) {
        *axis = channels;
    }
    normed.broadcast_mul(&weight.reshape(by_channel.as_slice())?)?.broadcast_add(&bias.reshape(by_channel.as_slice())?)
}

/// [`group_norm`], then SiLU.
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn group_norm_silu(x: &Tensor, n_groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    super::silu(&group_norm(x, n_groups, weight, bias, eps)?)
}
