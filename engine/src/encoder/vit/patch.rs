//! Patches: a convolution whose stride is its kernel, computed as the matrix product that it is.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::op;

/// Pixels to one token per patch.
#[derive(Clone, Debug)]
pub(in crate::encoder) struct PatchEmbedding {
    /// (C, channels·side·side)
    weight: Tensor,
    bias: Option<Tensor>,
    n_channels: usize,
    side: usize,
}

impl PatchEmbedding {
    /// Loads `weight` (`width`, `n_channels`, `side`, `side`), and `bias` (`width`) if `has_bias`.
    pub(in crate::encoder) fn new(
        n_channels: usize,
        width: usize,
        side: usize,
        has_bias: bool,
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let weight = weights.get((width, n_channels, side, side), "weight")?.flatten_from(1)?;
        let bias = has_bias.then(|| weights.get(width, "bias")).transpose()?;
        Ok(Self { weight, bias, n_channels, side })
    }

    /// `pixels` is (B, channels, H, W). Returns (B, h·w, C), patches row by row, and (h, w). Pixels that fill no patch, at
    /// the right and at the bottom, are left out, as a convolution leaves them out.
    pub(in crate::encoder) fn forward(&self, pixels: &Tensor) -> Result<(Tensor, (usize, usize))> {
        let side = self.side;
        let (batch, n_channels, height, width) = pixels.dims4()?;
        let (rows, columns) = (height / side, width / side);
        if n_channels != self.n_channels || rows == 0 || columns == 0 {
            candle_core::bail!(
                "pixels of shape {:?}: there should be (B, {}, H, W), with H and W at least {side}",
                pixels.dims(),
                self.n_channels,
            );
        }
        let patches = pixels
            .narrow(2, 0, rows * side)?
            .narrow(3, 0, columns * side)?
            .reshape(&[batch, n_channels, rows, side, columns, side])?
            .permute(vec![0, 2, 4, 1, 3, 5])? // (B, h, w, channels, side, side)
            .reshape((batch, rows * columns, n_channels * side * side))?;
        Ok((op::linear(&patches, &self.weight, self.bias.as_ref())?, (rows, columns)))
    }
}
