//! Small pictures as text.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbaImage};

use crate::picture::{Alpha, Limits, Picture};

/// Longest side.
const SIDE_PX: u32 = 160;
/// Of 100.
const QUALITY: u8 = 82;

/// An encoded picture as a `data:` address of at most [`SIDE_PX`] a side, with its width and height. Transparency is laid on
/// white.
pub(super) fn thumbnail(bytes: &[u8]) -> Result<(String, u32, u32), String> {
    // Anything that has pixels can be shown.
    let limits = Limits { min_side_px: 1, ..Limits::default() };
    let picture = Picture::decode(bytes, &limits, Alpha::White).map_err(|fault| fault.message)?;
    let small = shrunk(picture.pixels);
    let (width, height) = small.dimensions();
    let mut jpeg = Cursor::new(Vec::new());
    DynamicImage::ImageRgba8(small)
        .into_rgb8()
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))
        .map_err(|error| error.to_string())?;
    Ok((format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg.into_inner())), width, height))
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
        let (src, width, height) = thumbnail(&png(800, 200)).unwrap();
        assert_eq!((width, height), (160, 40));
        let jpeg = STANDARD.decode(src.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
        let read = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((read.width(), read.height()), (160, 40));
        assert_eq!(thumbnail(&png(2, 900)).map(|(_, width, height)| (width, height)), Ok((1, 160)));
        assert_eq!(thumbnail(&png(12, 8)).map(|(_, width, height)| (width, height)), Ok((12, 8)));
    }

    #[test]
    fn what_is_no_picture_says_so() {
        assert!(thumbnail(b"<script>").unwrap_err().contains("not a picture"));
    }
}
