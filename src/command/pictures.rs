//! Pictures that a person names on the command line.

use std::path::Path;

use cafe_stages::picture::{Alpha, Limits, Picture};
use image::{ImageFormat, RgbImage};

use crate::failure::Failure;

/// Reads the picture `path`, upright, what is transparent laid on white.
pub(super) fn read(path: &Path) -> Result<RgbImage, Failure> {
    let failed = |message: String| Failure::usage(format!("{}: {message}", path.display()), "name another picture");
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let limits = Limits { min_side_px: 1, ..Limits::default() };
    let picture = Picture::decode(&bytes, &limits, Alpha::White).map_err(|fault| failed(fault.message))?;
    Ok(picture.into_rgb())
}

/// Refuses an output that would not be written as what it is called, before any work is done.
pub(super) fn must_be_png(path: &Path) -> Result<(), Failure> {
    match ImageFormat::from_path(path) {
        Ok(ImageFormat::Png) => Ok(()),
        _ => Err(Failure::usage(format!("{}: images are written as PNG", path.display()), "end the name in .png")),
    }
}

/// Writes `image` to the PNG file `path`.
pub(super) fn write(image: &RgbImage, path: &Path) -> Result<(), Failure> {
    let failed = |message: String| Failure::usage(format!("{}: {message}", path.display()), "name another file");
    image.save_with_format(path, ImageFormat::Png).map_err(|error| failed(error.to_string()))
}
