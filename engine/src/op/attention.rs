//! Scaled dot-product attention.

use candle_core::{D, Result, Tensor};

/// softmax(Q·Kᵀ/√d + mask)·V per head, with d = C / `n_heads`.
///
/// `query` is (B, Tq, C), `key` and `value` are (B, Tk, C), the head's channels side by side as a linear layer makes them;
/// `mask` is (Tq, Tk), added to the scores. Returns (B, Tq, C).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    n_heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    composed(query, key, value, n_heads, mask)
}

fn composed(query: &Tensor, key: &Tensor, value: &Tensor, n_heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    let (batch, n_queries, width) = query.dims3()?;
    let head_dim = width / n_heads;
    let by_head = |tensor: &Tensor| -> Result<Tensor> {
        let n_tokens = tensor.dim(1)?;
        tensor.reshape((batch, n_tokens, n_heads, head_dim))?.transpose(1, 2)?.contiguous()
    };
    let scale = 1.0 / (head_dim as f64).sqrt();
    let (query, key, value) = (by_head(&(query * scale)?)?, by_head(key)?, by_head(value)?);
    let scores = query.matmul(&key.t()?)?; // (B, H, Tq, Tk)
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    // Not `softmax_last_dim`: it has no gradient.
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    weights.matmul(&value)?.transpose(1, 2)?.reshape((batch, n_queries, width)) // (B, Tq, C)
}
