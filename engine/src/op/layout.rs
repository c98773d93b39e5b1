//! Between pixels (B, C, H, W) and tokens (B, H·W, C).

use candle_core::{Result, Tensor};

/// (B, C, H, W) → (B, H·W, C).
///
/// # Errors
/// Of the tensors.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(2)?.transpose(1, 2)?.contiguous()
}

/// (B, H·W, C) → (B, C, H, W).
///
/// # Errors
/// When there are not `height`·`width` tokens, or of the tensors.
pub fn channels_first(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    x.transpose(1, 2)?.reshape((batch, channels, height, width))
}
