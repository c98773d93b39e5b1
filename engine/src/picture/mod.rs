//! From pixels to tensors and back.
//!
//! [`ImageProcessor`] prepares pictures for an encoder, as its `preprocessor_config.json` says; [`pixels`] is the way
//! to the VAE and back. Pictures come decoded and upright: files, EXIF and limits are no business of the engine's.

mod config;
pub mod pixels;
mod processor;
mod resize;

use image::{Rgb, RgbImage, RgbaImage};

pub use processor::{ImageProcessor, Resize};
pub use resize::Filter;

/// `image` laid on white. Colours under full transparency are whatever the program left there that wrote the file;
/// PIL's `convert("RGB")`, and so transformers, would bring them to light.
#[must_use]
pub fn on_white(image: &RgbaImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let pixels = image.pixels().flat_map(|pixel| {
        let [red, green, blue, alpha] = pixel.0.map(u32::from);
        [red, green, blue].map(|channel| {
            let mixed = (channel * alpha + 255 * (255 - alpha) + 127) / 255; // rounded, at most 255
            u8::try_from(mixed).unwrap_or(u8::MAX)
        })
    });
    RgbImage::from_raw(width, height, pixels.collect())
        .unwrap_or_else(|| RgbImage::from_pixel(width, height, Rgb([u8::MAX; 3])))
}

#[cfg(test)]
mod tests;
