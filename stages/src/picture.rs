//! Pictures from outside: decoded within limits, turned upright, and known by their pixels.

use std::io::{self, Cursor};

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::ErrorClass;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage, RgbaImage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a picture may be. A file of a few bytes can claim a billion pixels: claims are read before pixels are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest file.
    #[schemars(range(min = 1))]
    pub max_file_bytes: u64,
    /// Longest side.
    #[schemars(range(min = 1))]
    pub max_side_px: u32,
    /// Largest area.
    #[schemars(range(min = 1))]
    pub max_pixels: u64,
    /// Shortest side; smaller pictures are of no use.
    pub min_side_px: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_file_bytes: 64 << 20, max_side_px: 16_384, max_pixels: 100_000_000, min_side_px: 16 }
    }
}

/// What becomes of transparency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alpha {
    /// It stays.
    #[default]
    Keep,
    /// The picture is laid on white.
    White,
}

/// Why a picture cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is filed under.
    pub class: ErrorClass,
    /// What was wrong, with what would be right.
    pub message: String,
}

impl Fault {
    /// A fault of `class`.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// A decoded picture, upright.
pub struct Picture {
    /// Its pixels, RGBA, 8 bits each.
    pub pixels: RgbaImage,
    /// Whether the pixels are other than those in the file: turned, or laid on white.
    pub is_changed: bool,
}

impl Picture {
    /// Decodes the file `bytes`.
    ///
    /// # Errors
    /// A file that is too large, claims too much, is too small to be of use, is damaged, or is not a picture.
    pub fn decode(bytes: &[u8], limits: &Limits, alpha: Alpha) -> Result<Self, Fault> {
        check_size(bytes.len() as u64, limits)?;
        if bytes.is_empty() {
            return Err(Fault::new(ErrorClass::Corrupt, "the file is empty"));
        }
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| corrupt(&error))?;
        if reader.format().is_none() {
            return Err(Fault::new(ErrorClass::Corrupt, "is not a picture in JPEG, PNG, WebP, GIF or BMP"));
        }
        let mut decoder = reader.into_decoder().map_err(|error| fault(&error))?;
        check_claim(decoder.dimensions(), limits)?;
        let mut memory = image::Limits::default();
        // Decoders may want the pixels twice, with 16 bits a channel.
        memory.max_alloc = Some(limits.max_pixels.saturating_mul(16));
        decoder.set_limits(memory).map_err(|error| fault(&error))?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| fault(&error))?;
        image.apply_orientation(orientation);
        let has_alpha = image.color().has_alpha();
        let mut pixels = image.into_rgba8();
        let mut is_changed = orientation != Orientation::NoTransforms;
        if alpha == Alpha::White && has_alpha {
            is_changed |= lay_on_white(&mut pixels);
        }
        Ok(Self { pixels, is_changed })
    }

    /// The pixels as models see them: what is transparent must have been laid on something.
    #[must_use]
    pub fn into_rgb(self) -> RgbImage {
        DynamicImage::ImageRgba8(self.pixels).into_rgb8()
    }

    /// The pixels on white.
    #[must_use]
    pub(crate) fn on_white(&self) -> RgbImage {
        let mut pixels = self.pixels.clone();
        lay_on_white(&mut pixels);
        DynamicImage::ImageRgba8(pixels).into_rgb8()
    }

    /// BLAKE3 of width, height and pixels: the same picture in another file has the same id.
    #[must_use]
    pub fn reference_id(&self) -> String {
        Hasher::new("reference/v1")
            .number("width", self.pixels.width().into())
            .number("height", self.pixels.height().into())
            .bytes("rgba", self.pixels.as_raw())
            .row_id()
    }

    /// The pixels as a PNG file.
    ///
    /// # Errors
    /// Of the encoder.
    pub fn to_png(&self) -> Result<Vec<u8>, Fault> {
        let mut bytes = Cursor::new(Vec::new());
        let is_opaque = self.pixels.pixels().all(|pixel| pixel.0[3] == u8::MAX);
        let written = if is_opaque {
            DynamicImage::ImageRgba8(self.pixels.clone()).into_rgb8().write_to(&mut bytes, ImageFormat::Png)
        } else {
            self.pixels.write_to(&mut bytes, ImageFormat::Png)
        };
        written.map_err(|error| fault(&error))?;
        Ok(bytes.into_inner())
    }
}

/// A picture of the project's own tables, for a model: on white, of any size that is not absurd.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn for_model(bytes: Option<&[u8]>, whose: &str) -> Result<RgbImage, Fault> {
    let bytes = bytes.ok_or_else(|| Fault::new(ErrorClass::Invalid, format!("{whose} has no picture")))?;
    let limits = Limits { min_side_px: 1, ..Limits::default() };
    let picture = Picture::decode(bytes, &limits, Alpha::White);
    Ok(picture.map_err(|fault| Fault { message: format!("{whose}: {}", fault.message), ..fault })?.into_rgb())
}

/// `image` as a PNG file.
///
/// # Errors
/// Of the encoder.
pub(crate) fn png(image: &RgbImage) -> Result<Vec<u8>, Fault> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| fault(&error))?;
    Ok(bytes.into_inner())
}

/// Refuses a file by its size alone.
///
/// # Errors
/// See the message.
pub fn check_size(n_bytes: u64, limits: &Limits) -> Result<(), Fault> {
    if n_bytes <= limits.max_file_bytes {
        return Ok(());
    }
    let message = format!("the file has {n_bytes} bytes, limits.max_file_bytes is {}", limits.max_file_bytes);
    Err(Fault::new(ErrorClass::TooLarge, message))
}

fn check_claim((width, height): (u32, u32), limits: &Limits) -> Result<(), Fault> {
    let (long, short) = (width.max(height), width.min(height));
    let n_pixels = u64::from(width) * u64::from(height);
    let too_large = |key: &str, limit: u64| {
        Err(Fault::new(ErrorClass::TooLarge, format!("{width}×{height} px, limits.{key} is {limit}")))
    };
    if long > limits.max_side_px {
        too_large("max_side_px", limits.max_side_px.into())
    } else if n_pixels > limits.max_pixels {
        too_large("max_pixels", limits.max_pixels)
    } else if short < limits.min_side_px.max(1) {
        Err(Fault::new(
            ErrorClass::Invalid,
            format!("{width}×{height} px, limits.min_side_px is {}", limits.min_side_px),
        ))
    } else {
        Ok(())
    }
}

/// Returns whether a pixel changed.
fn lay_on_white(pixels: &mut RgbaImage) -> bool {
    let mut is_changed = false;
    for pixel in pixels.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        if alpha < u8::MAX {
            let over = |channel: u8| {
                let (channel, alpha) = (u32::from(channel), u32::from(alpha));
                u8::try_from((channel * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
            };
            pixel.0 = [over(red), over(green), over(blue), u8::MAX];
            is_changed = true;
        }
    }
    is_changed
}

fn corrupt(error: &io::Error) -> Fault {
    Fault::new(ErrorClass::Corrupt, format!("cannot be decoded: {error}"))
}

fn fault(error: &ImageError) -> Fault {
    match error {
        ImageError::Limits(error) => {
            Fault::new(ErrorClass::TooLarge, format!("cannot be decoded within limits: {error}"))
        }
        error => Fault::new(ErrorClass::Corrupt, format!("cannot be decoded: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, Rgba};

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, 90]))
    }

    fn decode(bytes: &[u8]) -> Result<Picture, Fault> {
        Picture::decode(bytes, &Limits::default(), Alpha::Keep)
    }

    /// A JPEG with an EXIF orientation: an APP1 segment after the start of the image.
    fn turned(orientation: u8) -> Vec<u8> {
        let jpeg = encoded(gradient(40, 20), ImageFormat::Jpeg);
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn orientation_is_applied_once() {
        let upright = decode(&turned(1)).unwrap();
        assert_eq!((upright.pixels.dimensions(), upright.is_changed), ((40, 20), false));
        let turned = decode(&turned(6)).unwrap();
        assert_eq!((turned.pixels.dimensions(), turned.is_changed), ((20, 40), true));
        let again = decode(&turned.to_png().unwrap()).unwrap();
        assert_eq!((again.reference_id(), again.is_changed), (turned.reference_id(), false));
        assert_ne!(upright.reference_id(), turned.reference_id());
    }

    #[test]
    fn the_same_pixels_have_the_same_id_in_any_file() {
        let png = decode(&encoded(gradient(30, 30), ImageFormat::Png)).unwrap();
        let bmp = decode(&encoded(gradient(30, 30), ImageFormat::Bmp)).unwrap();
        assert_eq!(png.reference_id(), bmp.reference_id());
        // As many bytes in another shape are another picture.
        let other = RgbImage::from_raw(50, 18, gradient(30, 30).into_raw()).unwrap();
        assert_ne!(decode(&encoded(other, ImageFormat::Png)).unwrap().reference_id(), png.reference_id());
        assert_eq!(png.reference_id(), "b58e42624adb47fd029c4858076948b6", "raise the output versions with it");
    }

    #[test]
    fn transparency_is_laid_on_white_when_asked() {
        let mut image = RgbaImage::from_pixel(20, 20, Rgba([10, 20, 30, 255]));
        image.put_pixel(0, 0, Rgba([0, 0, 0, 0]));
        image.put_pixel(1, 0, Rgba([0, 0, 0, 128]));
        let bytes = encoded(image, ImageFormat::Png);
        assert!(!decode(&bytes).unwrap().is_changed);
        let white = Picture::decode(&bytes, &Limits::default(), Alpha::White).unwrap();
        assert!(white.is_changed);
        assert_eq!(white.pixels.get_pixel(0, 0).0, [255; 4]);
        assert_eq!(white.pixels.get_pixel(1, 0).0, [127, 127, 127, 255]);
    }

    #[test]
    fn faults_are_told_apart() {
        let whole = encoded(gradient(64, 64), ImageFormat::Png);
        let class = |bytes: &[u8]| decode(bytes).err().unwrap().class;
        assert_eq!(class(b""), ErrorClass::Corrupt);
        assert_eq!(class(b"not a picture at all"), ErrorClass::Corrupt);
        assert_eq!(class(&whole[..whole.len() / 2]), ErrorClass::Corrupt);
        assert_eq!(class(&encoded(gradient(8, 64), ImageFormat::Png)), ErrorClass::Invalid);
        let small = Limits { max_file_bytes: 100, ..Limits::default() };
        let fault = Picture::decode(&whole, &small, Alpha::Keep).err().unwrap();
        assert!(fault.message.contains("limits.max_file_bytes is 100"), "{}", fault.message);
    }

    #[test]
    fn a_bomb_is_refused_by_its_claim() {
        // A PNG's header is at a fixed place; its checksum is made right again.
        let mut bomb = encoded(gradient(32, 32), ImageFormat::Png);
        bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let checksum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        let fault = decode(&bomb).err().unwrap();
        assert_eq!(fault.class, ErrorClass::TooLarge);
        assert!(fault.message.contains("60000×60000 px, limits.max_side_px is 16384"), "{}", fault.message);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    /// Whatever the bytes are: a picture or a fault, never a panic.
    #[test]
    fn mutated_files_never_panic() {
        let files = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP];
        let mut state = 7_u64;
        let mut draw = move |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let limits = Limits { max_pixels: 1 << 20, ..Limits::default() };
        for format in files {
            let whole = encoded(gradient(24, 24), format);
            for _ in 0..400 {
                let mut bytes = whole.clone();
                for _ in 0..=draw(4) {
                    let at = draw(bytes.len());
                    bytes[at] = draw(256) as u8;
                }
                bytes.truncate(bytes.len() - draw(bytes.len() / 4));
                let _ = Picture::decode(&bytes, &limits, Alpha::White);
            }
        }
    }
}
