//! Statistics of one picture. All of them are the same for its mirrored and turned forms, so that EXIF orientation does
//! not matter; transparent pixels are laid over white.

use std::io::Cursor;

use image::{ImageReader, Limits, RgbImage};

/// Most memory that a decoder may take.
const DECODE_BYTES: u64 = 1 << 30;

/// Longest side of a picture.
const SIDE_PX: u32 = 32_768;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageStats {
    /// Variance of the Laplacian of luma in 0..=255, borders mirrored: low for blurred pictures, high for sharp or noisy.
    pub sharpness: f64,
    /// Mean luma, 0..=1.
    pub brightness: f64,
    /// Standard deviation of luma, 0..=0.5.
    pub contrast: f64,
    /// The measure of Hasler and Süsstrunk (2003) on channels in 0..=255: 0 for grey, 15 slightly, 109 extremely colourful.
    pub colourfulness: f64,
    /// Mean saturation of HSV, 0..=1.
    pub saturation: f64,
    /// Mean of the red channel, 0..=1.
    pub mean_red: f64,
    /// Mean of the green channel, 0..=1.
    pub mean_green: f64,
    /// Mean of the blue channel, 0..=1.
    pub mean_blue: f64,
}

/// Mean and variance in one pass, after Welford: sums of squares would lose digits on large pictures.
#[derive(Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.n;
        self.squares += delta * (value - self.mean);
    }

    fn variance(&self) -> f64 {
        if self.n > 0.0 { self.squares / self.n } else { 0.0 }
    }
}

/// Decodes a picture of any supported format within limits, over white.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODE_BYTES);
    limits.max_image_width = Some(SIDE_PX);
    limits.max_image_height = Some(SIDE_PX);
    let cannot = |error: &dyn std::fmt::Display| format!("cannot decode the image: {error}");
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| cannot(&error))?;
    reader.limits(limits);
    let image = reader.decode().map_err(|error| cannot(&error))?;
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8());
    }
    let rgba = image.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (over, pixel) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [red, green, blue, alpha] = pixel.0.map(u32::from);
        let blend = |channel: u32| u8::try_from((channel * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX);
        over.0 = [blend(red), blend(green), blend(blue)];
    }
    Ok(rgb)
}

impl ImageStats {
    /// Measures `image`.
    #[must_use]
    pub fn of(image: &RgbImage) -> Self {
        let (mut red, mut green, mut blue) = (Moments::default(), Moments::default(), Moments::default());
        let (mut light, mut rg, mut yb) = (Moments::default(), Moments::default(), Moments::default());
        let mut saturation = Moments::default();
        for pixel in image.pixels() {
            let [r, g, b] = pixel.0.map(f64::from);
            red.add(r);
            green.add(g);
            blue.add(b);
            light.add(luma(pixel.0));
            rg.add(r - g);
            yb.add((r + g) / 2.0 - b);
            let (high, low) = (r.max(g).max(b), r.min(g).min(b));
            saturation.add(if high > 0.0 { (high - low) / high } else { 0.0 });
        }
        let spread = (rg.variance() + yb.variance()).sqrt();
        let shift = rg.mean.hypot(yb.mean);
        Self {
            sharpness: sharpness(image),
            brightness: light.mean / 255.0,
            contrast: light.variance().sqrt() / 255.0,
            colourfulness: spread + 0.3 * shift,
            saturation: saturation.mean,
            mean_red: red.mean / 255.0,
            mean_green: green.mean / 255.0,
            mean_blue: blue.mean / 255.0,
        }
    }
}

/// Luma after ITU-R BT.601, in 0..=255.
fn luma([red, green, blue]: [u8; 3]) -> f64 {
    // Whole numbers first: grey pixels then have exactly their own value.
    f64::from(u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114) / 1000.0
}

/// Variance of the Laplacian (4 neighbours) of luma. Beyond the border the picture is mirrored about its outermost pixels.
fn sharpness(image: &RgbImage) -> f64 {
    let stride = image.width() as usize * 3;
    if stride == 0 || image.height() == 0 {
        return 0.0;
    }
    let rows: Vec<&[u8]> = image.as_raw().chunks_exact(stride).collect();
    let luma_row = |at: usize, into: &mut Vec<f64>| {
        into.clear();
        let row = rows.get(at).copied().unwrap_or_default();
        into.extend(row.as_chunks::<3>().0.iter().map(|pixel| luma(*pixel)));
    };
    // Three rows at a time: a whole plane of luma would take eight times the picture's memory.
    let (mut above, mut here, mut below) = (Vec::new(), Vec::new(), Vec::new());
    let mut laplacian = Moments::default();
    luma_row(0, &mut here);
    luma_row(mirrored(1, rows.len()), &mut above);
    for y in 0..rows.len() {
        luma_row(mirrored(y + 1, rows.len()), &mut below);
        let value = |row: &[f64], x: usize| row.get(x).copied().unwrap_or_default();
        for x in 0..here.len() {
            let left = value(&here, if x == 0 { mirrored(1, here.len()) } else { x - 1 });
            let right = value(&here, mirrored(x + 1, here.len()));
            laplacian.add(value(&above, x) + value(&below, x) + left + right - 4.0 * value(&here, x));
        }
        std::mem::swap(&mut above, &mut here);
        std::mem::swap(&mut here, &mut below);
    }
    laplacian.variance()
}

/// `at`, at most one past the end of `n`, mirrored about the last.
fn mirrored(at: usize, n: usize) -> usize {
    if at < n { at } else { n.saturating_sub(2) }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    const RED: Rgb<u8> = Rgb([255, 0, 0]);
    const BLUE: Rgb<u8> = Rgb([0, 0, 255]);
    const BLACK: Rgb<u8> = Rgb([0, 0, 0]);
    const WHITE: Rgb<u8> = Rgb([255, 255, 255]);

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
    }

    #[test]
    fn a_flat_grey_has_brightness_only() {
        let stats = ImageStats::of(&RgbImage::from_pixel(5, 3, Rgb([51, 51, 51])));
        let grey = ImageStats {
            sharpness: 0.0,
            brightness: 0.2,
            contrast: 0.0,
            colourfulness: 0.0,
            saturation: 0.0,
            mean_red: 0.2,
            mean_green: 0.2,
            mean_blue: 0.2,
        };
        assert_eq!(stats, grey);
    }

    #[test]
    fn sharpness_of_a_dot_is_what_paper_says() {
        // A white dot in the middle of 3 x 3. There the Laplacian is -4 * 255. Mirrored about the border, the middle of an
        // edge sees the dot on both sides: 2 * 255. Corners see none of it.
        let mut image = RgbImage::new(3, 3);
        image.put_pixel(1, 1, WHITE);
        let values: [f64; 9] = [0.0, 510.0, 0.0, 510.0, -1020.0, 510.0, 0.0, 510.0, 0.0];
        let mean = values.iter().sum::<f64>() / 9.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 9.0;
        near(ImageStats::of(&image).sharpness, variance);
        // Mean 1020 / 9; mean of squares (4 * 510² + 1020²) / 9.
        near(variance, 231_200.0 - (1020.0_f64 / 9.0).powi(2));
    }

    #[test]
    fn colourfulness_of_red_and_blue_is_what_paper_says() {
        let mut image = RgbImage::from_pixel(2, 1, RED);
        image.put_pixel(1, 0, BLUE);
        let stats = ImageStats::of(&image);
        // rg = 255, 0: mean 127.5, deviation 127.5. yb = 127.5, -255: mean -63.75, deviation 191.25.
        let wanted =
            (127.5_f64.powi(2) + 191.25_f64.powi(2)).sqrt() + 0.3 * (127.5_f64.powi(2) + 63.75_f64.powi(2)).sqrt();
        near(stats.colourfulness, wanted);
        near(stats.saturation, 1.0);
        near(stats.mean_red, 0.5);
        near(stats.mean_green, 0.0);
        near(stats.brightness, (0.299 + 0.114) / 2.0);
    }

    #[test]
    fn half_black_half_white_has_the_largest_contrast() {
        let mut image = RgbImage::from_pixel(1, 2, BLACK);
        image.put_pixel(0, 1, WHITE);
        near(ImageStats::of(&image).contrast, 0.5);
        // One pixel wide: the only neighbours are above and below, mirrored.
        near(ImageStats::of(&image).sharpness, 510.0 * 510.0);
    }

    #[test]
    fn transparent_pixels_are_white() {
        let mut bytes = Cursor::new(Vec::new());
        let clear = image::RgbaImage::from_pixel(2, 2, image::Rgba([255, 0, 0, 0]));
        clear.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        near(ImageStats::of(&decode(bytes.get_ref()).unwrap()).brightness, 1.0);
    }

    #[test]
    fn what_is_no_image_is_refused_in_words() {
        assert!(decode(b"no image").unwrap_err().starts_with("cannot decode the image: "));
        assert!(decode(&[]).is_err());
    }
}
