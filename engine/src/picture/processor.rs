//! Preparing pictures for an encoder.

use std::path::Path;

use candle_core::{Device, Tensor};
use image::{RgbImage, imageops};

use super::config;
use super::resize::{Axis, Filter, check_area, resize};
use crate::{EngineError, Result};

/// Mean and standard deviation of CLIP's training pictures, red, green, blue, of values in 0..=1.
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
/// The same of ImageNet.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// The size that a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The shorter side becomes this long, the longer side as long as the proportions ask, rounded down.
    ShortestEdge(u32),
    /// The shorter side becomes this long, or as long as leaves the longer one within its bound; proportions are kept, and sides
    /// rounded down to multiples.
    Within {
        /// The shorter side, in pixels.
        shortest: u32,
        /// The longer side's bound, in pixels.
        longest: u32,
        /// 1 for any side.
        multiple_of: u32,
    },
    /// Both sides, whatever the proportions.
    Exactly {
        /// In pixels.
        height: u32,
        /// In pixels.
        width: u32,
    },
}

/// How an encoder wants its pictures: resized, cropped at the centre, and normalised, in this order.
///
/// The steps are those of `CLIPImageProcessor`, `BitImageProcessor` and `ViTImageProcessor` in transformers, and of the detectors'
/// `DetrImageProcessor`, `ConditionalDetrImageProcessor` and `YolosImageProcessor`, with Pillow doing the resizing
/// (`image_processing_backends.PilBackend`).
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// The size to resize to, and how; none leaves the picture as it is.
    pub resize: Option<(Resize, Filter)>,
    /// Height and width cut out of the centre; black is laid around a picture that is smaller.
    pub crop: Option<(u32, u32)>,
    /// What bytes are multiplied by: 1/255 as a rule.
    pub rescale_factor: f64,
    /// Subtracted then, red, green, blue.
    pub mean: [f32; 3],
    /// Divided by then, red, green, blue.
    pub std: [f32; 3],
}

impl ImageProcessor {
    /// What CLIP was trained with: the shorter side to `size` (224 or 336), bicubic, the centre `size`², CLIP's mean
    /// and deviation.
    #[must_use]
    pub fn clip(size: u32) -> Self {
        Self::centre(size, size, CLIP)
    }

    /// What DINO and DINOv2 were evaluated with: the shorter side to `size`·8/7 (256 for 224), bicubic, the centre
    /// `size`², ImageNet's mean and deviation.
    ///
    /// The `preprocessor_config.json` that is published with `facebook/dino-vits16` says otherwise: a square, bilinear,
    /// mean and deviation 0.5.
    #[must_use]
    pub fn dino(size: u32) -> Self {
        Self::centre(size.saturating_mul(8) / 7, size, IMAGENET)
    }

    fn centre(shortest_edge: u32, size: u32, (mean, std): ([f32; 3], [f32; 3])) -> Self {
        Self {
            resize: Some((Resize::ShortestEdge(shortest_edge), Filter::Bicubic)),
            crop: Some((size, size)),
            rescale_factor: 1.0 / 255.0,
            mean,
            std,
        }
    }

    /// Reads `preprocessor_config.json` in `folder`; returns `default` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or asks for what is not supported.
    pub fn load(folder: &Path, default: Self) -> Result<Self> {
        let file = folder.join("preprocessor_config.json");
        match std::fs::read(&file) {
            Ok(json) => config::parse(&json).map_err(|message| EngineError::config(file, message)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(default),
            Err(error) => Err(EngineError::io(file, error)),
        }
    }

    /// Prepares `image`; returns (3, H, W) in f32, red, green, blue.
    ///
    /// # Errors
    /// When the picture has no pixels, or would become far too large.
    pub fn process(&self, image: &RgbImage, device: &Device) -> Result<Tensor> {
        let image = self.resized(image)?;
        let (width, height) = image.dimensions();
        let mut values: Vec<f32> = Vec::with_capacity(image.as_raw().len());
        for (channel, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            let table: Vec<f32> =
                (0..=u8::MAX).map(|byte| ((f64::from(byte) * self.rescale_factor) as f32 - mean) / std).collect();
            let bytes = image.as_raw().iter().skip(channel).step_by(3);
            values.extend(bytes.filter_map(|byte| table.get(usize::from(*byte))));
        }
        Ok(Tensor::from_vec(values, (3, height as usize, width as usize), device)?)
    }

    /// Prepares `images`; returns (B, 3, H, W) in f32.
    ///
    /// # Errors
    /// When there are none, they come out in several sizes, or one of them fails as in [`Self::process`].
    pub fn process_batch(&self, images: &[RgbImage], device: &Device) -> Result<Tensor> {
        let prepared = images.iter().map(|image| self.process(image, device)).collect::<Result<Vec<_>>>()?;
        let Some(first) = prepared.first() else {
            return Err(EngineError::argument("a batch of no pictures"));
        };
        if let Some(other) = prepared.iter().find(|other| other.dims() != first.dims()) {
            let (first, other) = (first.dims(), other.dims());
            let message =
                format!("pictures of a batch come out as {first:?} and {other:?}; a crop would make them one");
            return Err(EngineError::argument(message));
        }
        Ok(Tensor::stack(&prepared, 0)?)
    }

    /// Resized and cropped, in bytes.
    fn resized(&self, image: &RgbImage) -> Result<RgbImage> {
        let (width, height) = image.dimensions();
        let (target_width, target_height) = match self.resize {
            Some((to, _)) => to.size(width, height)?,
            None => (width, height),
        };
        let (crop_height, crop_width) = self.crop.unwrap_or((target_height, target_width));
        let (horizontal, left) = centre(target_width, crop_width);
        let (vertical, top) = centre(target_height, crop_height);
        let filter = self.resize.map_or(Filter::Bicubic, |(_, filter)| filter);
        let visible = resize(image, horizontal, vertical, filter)?;
        if visible.dimensions() == (crop_width, crop_height) {
            return Ok(visible);
        }
        check_area(image, crop_width, crop_height)?;
        let mut padded = RgbImage::new(crop_width, crop_height);
        imageops::replace(&mut padded, &visible, left.into(), top.into());
        Ok(padded)
    }
}

impl Resize {
    /// Width and height of a picture of `width`×`height` px: transformers' `get_resize_output_image_size`.
    pub(super) fn size(self, width: u32, height: u32) -> Result<(u32, u32)> {
        let edge = match self {
            Self::Exactly { height, width } => return Ok((width, height)),
            Self::Within { shortest, longest, multiple_of } => {
                return within((width, height), (shortest, longest), multiple_of);
            }
            Self::ShortestEdge(edge) => edge,
        };
        let (short, long) = (width.min(height), width.max(height));
        let long = (u64::from(edge) * u64::from(long)).checked_div(short.into());
        let long = long.and_then(|long| u32::try_from(long).ok()).ok_or_else(|| {
            EngineError::argument(format!("a picture of {width}×{height} px cannot have a shorter side of {edge} px"))
        })?;
        Ok(if width <= height { (edge, long) } else { (long, edge) })
    }
}

/// Width and height with `shortest` and `longest` as bounds: transformers' `get_size_with_aspect_ratio`, and that of YOLOS where sides are
/// multiples.
fn within((width, height): (u32, u32), (shortest, longest): (u32, u32), multiple_of: u32) -> Result<(u32, u32)> {
    let (short, long) = (f64::from(width.min(height)), f64::from(width.max(height)));
    let edge = f64::from(shortest);
    let bounded = (long / short * edge > f64::from(longest)).then(|| f64::from(longest) * short / long);
    let edge = bounded.map_or(edge, f64::round_ties_even);
    // YOLOS leaves only pictures as they are that are not higher than wide.
    let is_kept = short == edge && (multiple_of == 1 || width >= height);
    // Rounded down, and what is no number becomes nothing.
    let (edge, other) = if is_kept {
        (short as u32, long as u32)
    } else {
        (edge as u32, (bounded.unwrap_or(edge) * long / short) as u32)
    };
    let [edge, other] = [edge, other].map(|side| side - side % multiple_of.max(1));
    if edge == 0 || other == 0 {
        return Err(EngineError::argument(format!(
            "a picture of {width}×{height} px cannot have sides of {shortest} to {longest} px"
        )));
    }
    Ok(if width <= height { (edge, other) } else { (other, edge) })
}

/// The part of `resized` pixels that a crop of `crop` pixels at the centre shows, and where it lies in the crop:
/// transformers' `center_crop`.
fn centre(resized: u32, crop: u32) -> (Axis, u32) {
    if crop <= resized {
        (Axis { resized, start: (resized - crop) / 2, length: crop }, 0)
    } else {
        // An odd border is one pixel wider before the picture than after it.
        (Axis::whole(resized), (crop - resized).div_ceil(2))
    }
}
