//! Small pictures: on pages, and in place of pictures that are not kept.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbaImage};

use crate::picture::{Alpha, Limits, Picture};

/// Of 100.
const QUALITY: u8 = 82;

/// A small picture.
#[derive(Debug)]
pub(crate) struct Thumbnail {
    /// The file.
    pub(crate) jpeg: Vec<u8>,
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
}

impl Thumbnail {
    /// An encoded picture at most `side_px` a side. Transparency is laid on white.
    ///
    /// # Errors
    /// Why it cannot be shown.
    pub(crate) fn new(bytes: &[u8], side_px: u32) -> Result<Self, String> {
        // Anything that has pixels can be shown.
        let limits = Limits { min_side_px: 1, ..Limits::default() };
        let picture = Picture::decode(bytes, &limits, Alpha::White).map_err(|fault| fault.message)?;
        let small = shrunk(picture.pixels, side_px);
        let (width_px, height_px) = small.dimensions();
        let mut jpeg = Cursor::new(Vec::new());
        DynamicImage::ImageRgba8(small)
            .into_rgb8()
            .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))
            .map_err(|error| error.to_string())?;
        Ok(Self { jpeg: jpeg.into_inner(), width_px, height_px })
    }

    /// The file as a `data:` address.
    pub(crate) fn address(&self) -> String {
        format!("data:image/jpeg;base64,{}", STANDARD.encode(&self.jpeg))
    }
}

fn shrunk(pixels: RgbaImage, side_px: u32) -> RgbaImage {
    let (width, height) = pixels.dimensions();
    let longest = width.max(height);
    if longest <= side_px {
        return pixels;
    }
    let scaled = |side: u32| (u64::from(side) * u64::from(side_px) / u64::from(longest)).max(1) as u32;
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
        let thumbnail = Thumbnail::new(&png(800, 200), 160).unwrap();
        assert_eq!((thumbnail.width_px, thumbnail.height_px), (160, 40));
        let jpeg = STANDARD.decode(thumbnail.address().strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
        let read = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((read.width(), read.height()), (160, 40));
        let size = |width, height| {
            let thumbnail = Thumbnail::new(&png(width, height), 160).unwrap();
            (thumbnail.width_px, thumbnail.height_px)
        };
        assert_eq!((size(2, 900), size(12, 8)), ((1, 160), (12, 8)));
    }

    #[test]
    fn what_is_no_picture_says_so() {
        assert!(Thumbnail::new(b"<script>", 160).unwrap_err().contains("not a picture"));
    }
}
