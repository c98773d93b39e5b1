//! Upsampling.

use candle_core::{Result, Tensor};

/// Doubles height and width of `x` (B, C, H, W) by repeating pixels.
///
/// # Errors
/// Of the tensors.
pub fn upsample_nearest_2x(x: &Tensor) -> Result<Tensor> {
    // Not candle's `upsample_nearest2d`: its gradient overwrites where it should add.
    let (batch, channels, height, width) = x.dims4()?;
    x.reshape((batch, channels, height, 1, width, 1))?.broadcast_as((batch, channels, height, 2, width, 2))?.reshape((
        batch,
        channels,
        2 * height,
        2 * width,
    ))
}
