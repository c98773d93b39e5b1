//! The mini-set of tuning: a picture, and its subject turned, moved and shrunk before a ground made of the same picture.

use image::{GrayImage, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::noise::Noise;

/// How pictures are altered. The defaults are ProFusion's (`torchvision.transforms.RandomAffine`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentSettings {
    /// Turned by at most this, either way, 0 to 180.
    pub degrees: f64,
    /// Moved by at most this share of width and of height, either way, 0 to 1.
    pub translate: f64,
    /// Scaled to between these, above 0.
    pub scale: [f64; 2],
}

impl Default for AugmentSettings {
    fn default() -> Self {
        Self { degrees: 10.0, translate: 0.2, scale: [0.6, 1.0] }
    }
}

impl AugmentSettings {
    pub(super) fn check(&self) -> Result<()> {
        let [least, largest] = self.scale;
        let is_right = (0.0..=180.0).contains(&self.degrees)
            && (0.0..=1.0).contains(&self.translate)
            && (0.01..=100.0).contains(&least)
            && (least..=100.0).contains(&largest);
        if is_right {
            return Ok(());
        }
        Err(EngineError::argument(format!(
            "augmentation by {self:?}: degrees must be 0 to 180, translate 0 to 1, and scale rise within 0.01 to 100"
        )))
    }
}

/// Cells along a side of the ground: it keeps where the picture is light and dark, and nothing of its subject.
const CELLS: usize = 8;

/// `image`, and `n` alterations of it. `mask` is as large, white where the subject is; without, all of the picture is.
///
/// ProFusion paints what the subject leaves free with an inpainting model. Here it becomes a ground of soft colour: the means
/// of 8 by 8 cells of the picture without its subject, bilinear between their centres.
///
/// # Errors
/// When the picture is empty, the mask has another size, or settings are out of range.
pub fn mini_set(
    image: &RgbImage,
    mask: Option<&GrayImage>,
    n: u32,
    settings: &AugmentSettings,
    noise: &Noise,
) -> Result<Vec<RgbImage>> {
    settings.check()?;
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return Err(EngineError::argument(format!("a picture of {width}×{height} px has no pixels")));
    }
    if let Some((mask_width, mask_height)) = mask.map(GrayImage::dimensions).filter(|size| *size != (width, height)) {
        return Err(EngineError::argument(format!(
            "a mask of {mask_width}×{mask_height} px for a picture of {width}×{height} px"
        )));
    }
    let ground = Ground::new(image, mask);
    let altered =
        (0..n).map(|index| alter(image, mask, &ground, &Affine::drawn(settings, &noise.at(u64::from(index)))));
    Ok(std::iter::once(image.clone()).chain(altered).collect())
}

/// A turn about the centre, a scale, and a move by shares of width and height.
#[derive(Clone, Copy, Debug)]
struct Affine {
    radians: f64,
    scale: f64,
    shift: [f64; 2],
}

impl Affine {
    fn drawn(settings: &AugmentSettings, noise: &Noise) -> Self {
        let between = |purpose: &str, low: f64, high: f64| {
            low + (high - low) * noise.of(purpose).uniform(1).first().copied().unwrap_or_default()
        };
        let AugmentSettings { degrees, translate, scale: [least, largest] } = *settings;
        Self {
            radians: between("turn", -degrees, degrees).to_radians(),
            scale: between("scale", least, largest),
            shift: [between("right", -translate, translate), between("down", -translate, translate)],
        }
    }
}

fn alter(image: &RgbImage, mask: Option<&GrayImage>, ground: &Ground, affine: &Affine) -> RgbImage {
    let (width, height) = image.dimensions();
    let size = [f64::from(width), f64::from(height)];
    let (sin, cos) = affine.radians.sin_cos();
    RgbImage::from_fn(width, height, |column, row| {
        let [x, y] = [
            f64::from(column) + 0.5 - size[0] * (0.5 + affine.shift[0]),
            f64::from(row) + 0.5 - size[1] * (0.5 + affine.shift[1]),
        ];
        // Where it was before the turn and the scale, as an index of pixels.
        let from = [
            (cos * x + sin * y) / affine.scale + size[0] / 2.0 - 0.5,
            (cos * y - sin * x) / affine.scale + size[1] / 2.0 - 0.5,
        ];
        let (colour, opacity) = sample(image, mask, from);
        let behind = ground.at([(f64::from(column) + 0.5) / size[0], (f64::from(row) + 0.5) / size[1]]);
        let mixed = |channel: usize| {
            let (front, behind) = (colour.get(channel), behind.get(channel));
            let value = front.copied().unwrap_or_default() + (1.0 - opacity) * behind.copied().unwrap_or_default();
            value.round().clamp(0.0, 255.0) as u8
        };
        Rgb([mixed(0), mixed(1), mixed(2)])
    })
}

/// Colour times opacity, and opacity, between four pixels; what is beyond the edge is transparent.
fn sample(image: &RgbImage, mask: Option<&GrayImage>, [x, y]: [f64; 2]) -> ([f64; 3], f64) {
    let (left, top) = (x.floor(), y.floor());
    let (mut colour, mut opacity) = ([0.0; 3], 0.0);
    for (column, row) in [(left, top), (left + 1.0, top), (left, top + 1.0), (left + 1.0, top + 1.0)] {
        if column < 0.0 || row < 0.0 || column >= f64::from(image.width()) || row >= f64::from(image.height()) {
            continue;
        }
        let (column, row, weight) = (column as u32, row as u32, (1.0 - (x - column).abs()) * (1.0 - (y - row).abs()));
        let Some(pixel) = image.get_pixel_checked(column, row) else { continue };
        let cover = mask.and_then(|mask| mask.get_pixel_checked(column, row)).map_or(255, |pixel| pixel.0[0]);
        let weight = weight * f64::from(cover) / 255.0;
        opacity += weight;
        for (sum, value) in colour.iter_mut().zip(pixel.0) {
            *sum += weight * f64::from(value);
        }
    }
    (colour, opacity)
}

/// What is behind the subject: mean colours of cells, row by row.
struct Ground(Vec<[f64; 3]>);

impl Ground {
    fn new(image: &RgbImage, mask: Option<&GrayImage>) -> Self {
        let (width, height) = (image.width().max(1) as usize, image.height().max(1) as usize);
        let mut sums = vec![([0.0; 3], 0.0_f64); CELLS * CELLS];
        let mut add = |mask: Option<&GrayImage>| {
            for (column, row, pixel) in image.enumerate_pixels() {
                let cover = mask.and_then(|mask| mask.get_pixel_checked(column, row)).map_or(0, |pixel| pixel.0[0]);
                let cell = row as usize * CELLS / height * CELLS + column as usize * CELLS / width;
                let weight = 1.0 - f64::from(cover) / 255.0;
                let Some((sum, total)) = sums.get_mut(cell) else { continue };
                *total += weight;
                for (sum, value) in sum.iter_mut().zip(pixel.0) {
                    *sum += weight * f64::from(value);
                }
            }
            sums.iter().fold(([0.0; 3], 0.0), |(mut all, total), (sum, weight)| {
                for (all, sum) in all.iter_mut().zip(sum) {
                    *all += sum;
                }
                (all, total + weight)
            })
        };
        let mut all = add(mask);
        if all.1 == 0.0 {
            all = add(None); // A subject that fills the picture.
        }
        let mean = |(sum, total): &([f64; 3], f64)| sum.map(|sum| sum / total);
        Self(sums.iter().map(|cell| if cell.1 > 0.0 { mean(cell) } else { mean(&all) }).collect())
    }

    /// The colour at a place, both of 0 to 1.
    fn at(&self, place: [f64; 2]) -> [f64; 3] {
        let axis = |share: f64| {
            let position = (share * CELLS as f64 - 0.5).clamp(0.0, (CELLS - 1) as f64);
            let low = (position as usize).min(CELLS - 2);
            (low, position - low as f64)
        };
        let ((column, right), (row, down)) = (axis(place[0]), axis(place[1]));
        let cell = |row: usize, column: usize| self.0.get(row * CELLS + column).copied().unwrap_or_default();
        let mix = |a: [f64; 3], b: [f64; 3], share: f64| {
            let mut mixed = a;
            for (a, b) in mixed.iter_mut().zip(b) {
                *a += (b - *a) * share;
            }
            mixed
        };
        mix(
            mix(cell(row, column), cell(row, column + 1), right),
            mix(cell(row + 1, column), cell(row + 1, column + 1), right),
            down,
        )
    }
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
