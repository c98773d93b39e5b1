//! What CAFE sees of a reference.

use std::sync::{Mutex, PoisonError};

use cafe_engine::cafe::ImageEncoders;
use cafe_engine::{EngineError, Tensor};
use image::RgbImage;

/// E(x) and F(x).
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// (1, 1 + N, D_dino).
    pub(super) dino: Tensor,
    /// (1, D_clip).
    pub(super) clip: Tensor,
}

/// What was seen of the last reference: a reference's pairs stand together.
#[derive(Default)]
pub(super) struct LastSeen(Mutex<Option<(String, Seen)>>);

impl LastSeen {
    /// What `encoders` see of the reference of this id.
    pub(super) fn of(&self, encoders: &ImageEncoders, id: &str, reference: &RgbImage) -> Result<Seen, EngineError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, seen)) = known.filter(|(known, _)| known == id) {
            return Ok(seen);
        }
        let images = std::slice::from_ref(reference);
        let seen = Seen { dino: encoders.dino(images)?, clip: encoders.clip(images)? };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.to_owned(), seen.clone()));
        Ok(seen)
    }
}
