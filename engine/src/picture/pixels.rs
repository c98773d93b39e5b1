//! Pictures to the pixels that the VAE takes in, and back: diffusers' `VaeImageProcessor` (`image_processor.py`).

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use super::resize::{Axis, Filter, resize};
use crate::{EngineError, Result};

/// Resizes `image` so that it covers `height`×`width` px (Lanczos), cuts out the centre, and maps bytes to −1..=1.
/// Returns (1, 3, H, W) in f32, red, green, blue. As `preprocess(…, resize_mode="crop")`.
///
/// # Errors
/// When the picture has no pixels, a size is zero, or far too large.
pub fn from_image(image: &RgbImage, (height, width): (u32, u32), device: &Device) -> Result<Tensor> {
    let image = cover(image, (height, width))?;
    let bytes = (0..3).flat_map(|channel| image.as_raw().iter().skip(channel).step_by(3));
    let values: Vec<f32> = bytes.map(|byte| 2.0 * (f32::from(*byte) / 255.0) - 1.0).collect();
    Ok(Tensor::from_vec(values, (1, 3, height as usize, width as usize), device)?)
}

/// [`from_image`] of several; returns (B, 3, H, W).
///
/// # Errors
/// When there are none, or one of them fails as in [`from_image`].
pub fn from_images(images: &[RgbImage], size: (u32, u32), device: &Device) -> Result<Tensor> {
    if images.is_empty() {
        return Err(EngineError::argument("a batch of no pictures"));
    }
    let pixels = images.iter().map(|image| from_image(image, size, device)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&pixels, 0)?)
}

/// Pictures of `pixels` (B, 3, H, W): clamped to −1..=1, mapped to 0..=255, halves rounded to even.
///
/// # Errors
/// When the shape is another, or a value is not a number.
pub fn to_images(pixels: &Tensor) -> Result<Vec<RgbImage>> {
    let (batch, channels, height, width) = pixels.dims4()?;
    if channels != 3 {
        return Err(EngineError::argument(format!("pixels of {channels} channels; 3 make a picture")));
    }
    let pixels = pixels.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    (0..batch).map(|row| to_image(&pixels.get(row)?, (height, width))).collect()
}

/// The picture of `pixels` (3, H, W).
fn to_image(pixels: &Tensor, (height, width): (usize, usize)) -> Result<RgbImage> {
    let values: Vec<f32> = pixels.permute((1, 2, 0))?.flatten_all()?.to_vec1()?; // (H·W·3)
    if let Some(value) = values.iter().find(|value| value.is_nan()) {
        return Err(EngineError::argument(format!(
            "a decoded pixel is {value}: the latents or the weights are damaged"
        )));
    }
    let byte = |value: &f32| ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let side = |side: usize| u32::try_from(side).map_err(|_| EngineError::argument(format!("a picture of {side} px")));
    RgbImage::from_raw(side(width)?, side(height)?, values.iter().map(byte).collect())
        .ok_or_else(|| EngineError::argument("the picture has too few pixels"))
}

/// `_resize_and_crop`.
fn cover(image: &RgbImage, (height, width): (u32, u32)) -> Result<RgbImage> {
    let [h, w, image_h, image_w] = [height, width, image.height(), image.width()].map(u64::from);
    if image_h == 0 || image_w == 0 {
        return Err(EngineError::argument(format!("a picture of {image_w}×{image_h} px has no pixels")));
    }
    let is_taller = w * image_h > h * image_w; // than the result
    let resized = if is_taller { (w, image_h * w / image_w) } else { (image_w * h / image_h, h) };
    let axis = |resized: u64, length: u32| {
        let resized = u32::try_from(resized).map_err(|_| {
            EngineError::argument(format!("{image_w}×{image_h} px cannot cover {width}×{height} px: too long and thin"))
        })?;
        // Halves are rounded down one by one, as in the reference.
        Ok::<_, EngineError>(Axis { resized, start: (resized / 2).saturating_sub(length / 2), length })
    };
    resize(image, axis(resized.0, width)?, axis(resized.1, height)?, Filter::Lanczos)
}
