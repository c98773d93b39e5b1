//! Matrix products with a weight.

use candle_core::{Result, Tensor};

/// x·Wᵀ + b of `x` (…, C_in), `weight` (C_out, C_in) and `bias` (C_out). Returns (…, C_out).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    let n_rows = x.elem_count() / n_in.max(1);
    let y = x.reshape((n_rows, n_in))?.matmul(&weight.t()?)?; // (rows, C_out)
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = n_out;
    }
    y.reshape(dims)
}
