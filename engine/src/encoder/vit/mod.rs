//! What DINO, DINOv2 and the towers of CLIP have in common: patches, positions, and transformer blocks that normalise
//! before they attend.

mod block;
mod embedding;
mod patch;
mod position;

use std::path::Path;

use crate::config::{Size, unsupported};
use crate::{EngineError, Result};

pub(super) use block::{Activation, Block, Mlp, Names, first_token};
pub(super) use embedding::Embeddings;
pub(super) use patch::PatchEmbedding;
use position::PositionEmbedding;

/// The largest side of a picture, in pixels: beyond any use, and far from an overflow.
const LARGEST: usize = 65536;

/// Pixels and patches of a square vision transformer, as configs give them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Side of the pictures it was trained on, in pixels.
    pub(super) image_size: usize,
    /// Side of a patch, in pixels.
    pub(super) patch_size: usize,
}

impl Geometry {
    /// # Errors
    /// When pictures or patches are not squares, or a patch is empty or larger than a picture.
    pub(super) fn new(image_size: Size, patch_size: Size, path: &Path) -> Result<Self> {
        let side = |size: Size, key: &str| {
            let side = size.side().filter(|side| (1..=LARGEST).contains(side));
            side.ok_or_else(|| unsupported(path, key, size, "one number, or two equal ones, 1 to 65536"))
        };
        let (image_size, patch_size) = (side(image_size, "image_size")?, side(patch_size, "patch_size")?);
        if patch_size > image_size {
            let message = format!("key `patch_size` is {patch_size}, more than `image_size`, {image_size}");
            return Err(EngineError::config(path, message));
        }
        Ok(Self { image_size, patch_size })
    }

    /// How many patches lie along a side.
    pub(super) fn grid(self) -> usize {
        self.image_size / self.patch_size
    }

    /// How many positions were learned: the CLS token's, and those of the patches.
    pub(super) fn n_positions(self) -> usize {
        1 + self.grid() * self.grid()
    }
}

/// Refuses a width that cannot be shared out among the heads.
pub(super) fn check_heads(width: usize, n_heads: usize, path: &Path) -> Result<()> {
    if n_heads > 0 && width > 0 && width.is_multiple_of(n_heads) {
        return Ok(());
    }
    let message = format!("key `hidden_size` is {width}, which `num_attention_heads`, {n_heads}, does not divide");
    Err(EngineError::config(path, message))
}
