//! Small pictures: on the report's page, and in place of pictures that are not kept.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbaImage};

use crate::picture::{Alpha, Limits, Picture};

/// Longest side.
const SIDE_PX: u32 = 160;
/// Of 100.
const QUALITY: u8 = 82;

/// A small picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thumbnail {
    /// A JPEG file.
    pub(crate) jpeg: Vec<u8>,
    /// At most [`SIDE_PX`].
    pub(crate) width_px: u32,
    /// At most [`SIDE_PX`].
    pub(crate) height_px: u32,
}

/// An encoded picture as a JPEG file of at most [`SIDE_PX`] a side. Transparency is laid on white.
///
/// # Errors
/// What is wrong with the picture.
pub(crate) fn thumbnail(bytes: &[u8]) -> Result<Thumbnail, String> {
    // Anything that has pixels can be shown.
    let limits = Limits { min_side_px: 1, ..Limits::default() };
    let picture = Picture::decode(bytes, &limits, Alpha::White).map_err(|fault| fault.message)?;
    let small = shrunk(picture.pixels);
    let (width_px, height_px) = small.dimensions();
    let mut jpeg = Cursor::new(Vec::new());
    DynamicImage::ImageRgba8(small)
        .into_rgb8()
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))
        .map_err(|error| error.to_string())?;
    Ok(Thumbnail { jpeg: jpeg.into_inner(), width_px, height_px })
}

fn shrunk(pixels: RgbaImage) -> RgbaImage {
    let (width, height) = pixels.dimensions();
    let longest = width.max(height);
    if longest <= SIDE_PX {
        return pixels;
    }
    let scaled = |side: u32| (u64::from(side) * u64::from(SIDE_PX) / u64::from(longest)).max(1) as u32;
    resize(&pixels, scaled(width), scaled(height), FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba};

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let pixels = RgbaImage::from_fn(width, height, |x, y| Rgba([(x * 9) as u8, (y * 7) as u8, (x * y) as u8, 255]));
        pixels.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn pictures_become_small_and_keep_their_shape() {
        let small = |width, height| thumbnail(&png(width, height)).unwrap();
        let made = small(800, 200);
        assert_eq!((made.width_px, made.height_px), (160, 40));
        let read = image::load_from_memory(&made.jpeg).unwrap();
        assert_eq!((read.width(), read.height()), (160, 40));
        assert_eq!((small(2, 900).width_px, small(2, 900).height_px), (1, 160));
        assert_eq!((small(12, 8).width_px, small(12, 8).height_px), (12, 8));
    }

    #[test]
    fn what_is_no_picture_says_so() {
        assert!(thumbnail(b"<script>").unwrap_err().contains("not a picture"));
    }
}
