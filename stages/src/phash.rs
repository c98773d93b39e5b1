//! A perceptual hash: pictures that look alike have hashes that differ in few of their 64 bits. The bits are those of
//! `imagehash.phash` in Python, so that they can be compared with what others computed.

use std::f64::consts::PI;

use cafe_engine::Device;
use cafe_engine::picture::{Filter, ImageProcessor, Resize};
use image::{Rgb, RgbImage};

/// The side of the picture that is transformed.
const SIDE: usize = 32;
/// Of its frequencies, those up to this one in each direction.
const LOW: usize = 8;

/// 16 hexadecimal digits: those of [`bits`].
///
/// # Errors
/// When the picture has no pixels.
pub(crate) fn phash(image: &RgbImage) -> Result<String, String> {
    bits(image).map(|bits| format!("{bits:016x}"))
}

/// A bit for each of the 8 × 8 lowest frequencies, whether it is above their median.
///
/// # Errors
/// When the picture has no pixels.
pub(crate) fn bits(image: &RgbImage) -> Result<u64, String> {
    let pixels = grey(image)?;
    // The two-dimensional cosine transform of type II, as far as it is looked at.
    let cosine =
        |frequency: usize, place: usize| (PI * frequency as f64 * (2 * place + 1) as f64 / (2 * SIDE) as f64).cos();
    let table: Vec<Vec<f64>> =
        (0..LOW).map(|frequency| (0..SIDE).map(|place| cosine(frequency, place)).collect()).collect();
    let rows: Vec<Vec<f64>> =
        pixels.chunks(SIDE).map(|row| table.iter().map(|wave| dot(wave, row)).collect()).collect();
    let mut low = Vec::with_capacity(LOW * LOW);
    for vertical in &table {
        for horizontal in 0..LOW {
            let column: Vec<f64> = rows.iter().filter_map(|row| row.get(horizontal).copied()).collect();
            low.push(dot(vertical, &column));
        }
    }
    let mut sorted = low.clone();
    sorted.sort_by(f64::total_cmp);
    let middle: Vec<f64> = sorted.iter().skip(LOW * LOW / 2 - 1).take(2).copied().collect();
    let median = middle.iter().sum::<f64>() / 2.0;
    Ok(low.iter().fold(0_u64, |hash, value| (hash << 1) | u64::from(*value > median)))
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// As Pillow's `convert("L").resize((32, 32), LANCZOS)`, row by row.
fn grey(image: &RgbImage) -> Result<Vec<f64>, String> {
    let grey = RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue] = image.get_pixel(x, y).0.map(u32::from);
        let luma = (red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16;
        Rgb([u8::try_from(luma).unwrap_or(u8::MAX); 3])
    });
    let side = SIDE as u32;
    let processor = ImageProcessor {
        resize: Some((Resize::Exactly { height: side, width: side }, Filter::Lanczos)),
        crop: None,
        rescale_factor: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let pixels = processor.process(&grey, &Device::Cpu).map_err(|error| error.to_string())?; // (3, 32, 32)
    let values: Vec<f32> =
        pixels.flatten_all().and_then(|pixels| pixels.to_vec1()).map_err(|error| error.to_string())?;
    Ok(values.into_iter().take(SIDE * SIDE).map(f64::from).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::picture::for_model;

    fn picture(name: &str) -> RgbImage {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/pictures").join(name);
        for_model(Some(&std::fs::read(path).unwrap()), name).unwrap()
    }

    fn of(name: &str) -> String {
        phash(&picture(name)).unwrap()
    }

    fn distance(one: &str, other: &str) -> u32 {
        let bits = |hash: &str| u64::from_str_radix(hash, 16).unwrap();
        (bits(one) ^ bits(other)).count_ones()
    }

    /// Made by `imagehash.phash` 4.3 of the pictures laid on white, with Pillow.
    #[test]
    fn it_is_that_of_imagehash() {
        for (name, hash) in HASHES {
            assert_eq!(of(name), hash, "{name}");
        }
    }

    #[test]
    fn a_paler_picture_is_near_and_another_is_far() {
        let picture = picture("animal/elephant.png");
        let mut paler = picture.clone();
        paler.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value / 2 + 100));
        let near = distance(&phash(&picture).unwrap(), &phash(&paler).unwrap());
        let far = distance(&of("animal/elephant.png"), &of("building/church.png"));
        assert!(near <= 6 && far >= 16, "{near} and {far}");
    }

    const HASHES: [(&str, &str); 3] = [
        ("animal/elephant.png", "bf17d2c3c968ccc0"),
        ("building/church.png", "b383c618cd339e71"),
        ("toy/video_game.png", "ff699496e1c37220"),
    ];
}
