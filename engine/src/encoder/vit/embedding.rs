//! Pixels to tokens: the CLS token and the patches, each with its position.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{Geometry, PatchEmbedding, PositionEmbedding};

/// CLS token, patches and positions.
#[derive(Clone, Debug)]
pub(in crate::encoder) struct Embeddings {
    /// (1, 1, C)
    cls: Tensor,
    patches: PatchEmbedding,
    positions: PositionEmbedding,
}

impl Embeddings {
    /// Loads what HF transformers calls `cls_token`, `patch_embeddings` and `position_embeddings` in its vision
    /// transformers.
    pub(in crate::encoder) fn new(
        n_channels: usize,
        width: usize,
        geometry: Geometry,
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let positions = weights.get((1, geometry.n_positions(), width), "position_embeddings")?;
        let projection = weights.pp("patch_embeddings.projection");
        let patches = PatchEmbedding::new(n_channels, width, geometry.patch_size, true, &projection)?;
        Ok(Self::from_parts(weights.get((1, 1, width), "cls_token")?, patches, positions, geometry))
    }

    /// `cls` is (1, 1, C), `positions` (1, 1 + patches, C).
    pub(in crate::encoder) fn from_parts(
        cls: Tensor,
        patches: PatchEmbedding,
        positions: Tensor,
        geometry: Geometry,
    ) -> Self {
        Self { cls, patches, positions: PositionEmbedding::new(positions, geometry.grid()) }
    }

    /// `pixels` is (B, channels, H, W). Returns (B, 1 + h·w, C).
    pub(in crate::encoder) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (patches, grid) = self.patches.forward(pixels)?;
        let (batch, _, width) = patches.dims3()?;
        let cls = self.cls.broadcast_as((batch, 1, width))?;
        let tokens = Tensor::cat(&[&cls, &patches], 1)?; // (B, 1 + h·w, C)
        tokens.broadcast_add(&self.positions.for_grid(grid)?)
    }
}
