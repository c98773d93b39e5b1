//! What was computed already of what many rows share: references and texts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers that stand for a picture or a text.
pub(super) type Vector = Arc<[f32]>;

/// How many numbers are kept at most: 64 MiB of them.
const MAX_NUMBERS: usize = 1 << 24;

/// Vectors by id. When there are too many all are forgotten: ids come in runs, and each is made in a moment.
#[derive(Default)]
pub(super) struct Known {
    vectors: Mutex<(HashMap<String, Vector>, usize)>,
}

impl Known {
    pub(super) fn get(&self, id: &str) -> Option<Vector> {
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner).0.get(id).cloned()
    }

    pub(super) fn put(&self, id: &str, vector: Vector) {
        let mut guard = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        let (vectors, n_numbers) = &mut *guard;
        if *n_numbers + vector.len() > MAX_NUMBERS {
            vectors.clear();
            *n_numbers = 0;
        }
        *n_numbers += vector.len();
        vectors.insert(id.to_owned(), vector);
    }
}

/// The cosine of two vectors of unit length.
pub(super) fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}

/// `vector` with unit length; zeros stay zeros.
pub(super) fn unit(vector: &[f32]) -> Vector {
    let norm = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    let norm = if norm > 0.0 { norm } else { 1.0 };
    vector.iter().map(|number| (f64::from(*number) / norm) as f32).collect()
}
