//! Resizing as Pillow does it: antialiased, on bytes, rows first, rounded to bytes between rows and columns.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::{EngineError, Result};

/// More pixels than this are not made of one picture: no model here takes in a hundredth of it, and a file of one
/// pixel by sixteen thousand would ask for gigabytes.
const MAX_PIXELS: u64 = 1 << 26;

/// How pixels are weighted, as numbered in `PIL.Image.Resampling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 1: Lanczos, of three lobes.
    Lanczos,
    /// 2: a triangle.
    Bilinear,
    /// 3: cubic with a = −0.5, Catmull-Rom's.
    Bicubic,
}

impl Filter {
    fn algorithm(self) -> ResizeAlg {
        ResizeAlg::Convolution(match self {
            Self::Lanczos => FilterType::Lanczos3,
            Self::Bilinear => FilterType::Bilinear,
            Self::Bicubic => FilterType::CatmullRom,
        })
    }
}

/// One direction of a resize with a crop after it, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Length after the resize, before the crop.
    pub(super) resized: u32,
    /// Where the crop starts in it.
    pub(super) start: u32,
    /// Length of the crop.
    pub(super) length: u32,
}

impl Axis {
    /// No crop.
    pub(super) fn whole(resized: u32) -> Self {
        Self { resized, start: 0, length: resized }
    }

    /// Start and length of the crop in a source of `source` pixels.
    fn in_source(self, source: u32) -> (f64, f64) {
        if (self.start, self.length) == (0, self.resized) {
            return (0.0, source.into());
        }
        let scale = f64::from(source) / f64::from(self.resized);
        let start = f64::from(self.start) * scale;
        (start, (f64::from(self.length) * scale).min(f64::from(source) - start))
    }
}

/// Resizes `image`, and returns the crop: pixels that the crop leaves out are not computed.
///
/// # Errors
/// When a side of `image` or of the result is zero, or the result is far too large.
pub(super) fn resize(image: &RgbImage, horizontal: Axis, vertical: Axis, filter: Filter) -> Result<RgbImage> {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return Err(EngineError::argument(format!("a picture of {width}×{height} px has no pixels")));
    }
    if [horizontal, vertical].iter().any(|axis| axis.length == 0 || axis.resized < axis.start + axis.length) {
        return Err(EngineError::argument(format!(
            "{}×{} px from {},{} cannot be cut out of {}×{} px",
            horizontal.length, vertical.length, horizontal.start, vertical.start, horizontal.resized, vertical.resized
        )));
    }
    // Between rows and columns the picture has the new width and the old height.
    check_area(image, horizontal.length, height)?;
    check_area(image, horizontal.length, vertical.length)?;
    let source = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).map_err(failed)?;
    let options = ResizeOptions::new().resize_alg(filter.algorithm()).use_alpha(false);
    let mut resizer = Resizer::new();
    // In one call the crate takes columns first, and its bytes are not Pillow's.
    let mut rows = Image::new(horizontal.length, height, PixelType::U8x3);
    let (start, length) = horizontal.in_source(width);
    let by_row = options.crop(start, 0.0, length, height.into());
    resizer.resize(&source, &mut rows, &by_row).map_err(failed)?;
    let mut resized = Image::new(horizontal.length, vertical.length, PixelType::U8x3);
    let (start, length) = vertical.in_source(height);
    let by_column = options.crop(0.0, start, horizontal.length.into(), length);
    resizer.resize(&rows, &mut resized, &by_column).map_err(failed)?;
    RgbImage::from_raw(horizontal.length, vertical.length, resized.into_vec())
        .ok_or_else(|| EngineError::argument("the resized picture has too few bytes"))
}

/// Refuses to make `width`×`height` px of `image` when that is far too large.
///
/// # Errors
/// See above.
pub(super) fn check_area(image: &RgbImage, width: u32, height: u32) -> Result<()> {
    let area = |width: u32, height: u32| u64::from(width) * u64::from(height);
    // No larger than the picture is no harm.
    let allowed = MAX_PIXELS.max(area(image.width(), image.height()));
    if area(width, height) <= allowed {
        return Ok(());
    }
    Err(EngineError::argument(format!(
        "a picture of {}×{} px would become one of {width}×{height} px; at most {allowed} pixels are allowed",
        image.width(),
        image.height()
    )))
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::argument(format!("cannot resize: {error}"))
}
