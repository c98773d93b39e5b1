//! Whether a detector can be used: it is loaded, and looks at a picture.

use std::path::Path;

use cafe_pipeline::stage::CompileContext;
use image::{Rgb, RgbImage};

use super::detector::Detector;
use crate::models::ModelStore;
use crate::onnx::Library;

/// Loads the detector in `folder` and shows it a picture; in words, what came out. `models` knows where onnxruntime is.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn verify(folder: &Path, models: &dyn ModelStore, context: &CompileContext<'_>) -> Result<String, String> {
    let detector = Detector::open(folder, Library::find(models, context))?;
    let picture = RgbImage::from_fn(96, 80, |x, y| Rgb([(x * 2) as u8, (y * 3) as u8, 120]));
    let pixels = detector.prepare(&picture).map_err(|fault| fault.message)?;
    let n_queries = detector.n_queries(&pixels).map_err(|error| error.to_string())?;
    Ok(format!("{n_queries} queries of {} classes on {}", detector.labels().len(), detector.backend()))
}
