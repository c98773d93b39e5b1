//! What CAFE sees of a reference.

use std::sync::Arc;

use cafe_engine::cafe::ImageEncoders;
use cafe_engine::{EngineError, Tensor};
use image::RgbImage;

use super::recent::Recent;

/// E(x) and F(x).
#[derive(Debug)]
pub(super) struct Seen {
    /// (1, 1 + N, D_dino).
    pub(super) dino: Tensor,
    /// (1, D_clip).
    pub(super) clip: Tensor,
}

impl Recent<Seen> {
    /// What `encoders` see of the reference of this id. No lock is held while they look.
    pub(super) fn of(
        &self,
        encoders: &ImageEncoders,
        id: &str,
        reference: &RgbImage,
    ) -> Result<Arc<Seen>, EngineError> {
        if let Some(seen) = self.find(id) {
            return Ok(seen);
        }
        let images = std::slice::from_ref(reference);
        let seen = Seen { dino: encoders.dino(images)?, clip: encoders.clip(images)? };
        Ok(self.keep(id.to_owned(), seen))
    }
}
