use image::Luma;

use super::*;

fn picture() -> RgbImage {
    RgbImage::from_fn(32, 24, |x, y| {
        if (12..20).contains(&x) && (8..16).contains(&y) { Rgb([250, 0, 0]) } else { Rgb([0, (x * 4) as u8, 200]) }
    })
}

fn mask() -> GrayImage {
    GrayImage::from_fn(32, 24, |x, y| Luma([if (12..20).contains(&x) && (8..16).contains(&y) { 255 } else { 0 }]))
}

#[test]
fn the_original_is_first_and_the_seed_decides_the_others() {
    let set = |seed: u64| mini_set(&picture(), None, 3, &AugmentSettings::default(), &Noise::new(seed)).unwrap();
    let (one, same, other) = (set(1), set(1), set(2));
    assert_eq!(one.len(), 4);
    assert_eq!(one[0], picture());
    assert_eq!(one, same);
    assert!((1..4).all(|index| one[index] != other[index] && one[index] != picture()));
    // More pictures leave the first ones as they are.
    let more = mini_set(&picture(), None, 5, &AugmentSettings::default(), &Noise::new(1)).unwrap();
    assert_eq!(more[..4], one[..]);
}

#[test]
fn without_a_change_the_subject_stays_and_the_ground_is_of_the_rest() {
    let still = AugmentSettings { degrees: 0.0, translate: 0.0, scale: [1.0, 1.0] };
    let whole = mini_set(&picture(), None, 1, &still, &Noise::new(1)).unwrap();
    assert_eq!(whole[1], picture());
    let masked = mini_set(&picture(), Some(&mask()), 1, &still, &Noise::new(1)).unwrap();
    for (x, y, pixel) in masked[1].enumerate_pixels() {
        let is_subject = (12..20).contains(&x) && (8..16).contains(&y);
        assert_eq!(pixel.0[0], if is_subject { 250 } else { 0 }, "no red outside of the subject: {x}, {y}");
        assert!(is_subject || (pixel.0[2] == 200 && pixel.0[1].abs_diff((x * 4) as u8) <= 8), "{pixel:?} at {x}, {y}");
    }
}

#[test]
fn the_subject_moves_and_shrinks_as_asked() {
    let red = |settings: AugmentSettings| {
        let set = mini_set(&picture(), Some(&mask()), 40, &settings, &Noise::new(3)).unwrap();
        let mass = |image: &RgbImage| {
            let parts = image.enumerate_pixels().map(|(x, y, pixel)| {
                let red = f64::from(pixel.0[0]) / 250.0;
                (red, red * (f64::from(x) + 0.5), red * (f64::from(y) + 0.5))
            });
            let (n, x, y) = parts.fold((0.0, 0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1, sum.2 + part.2));
            (n, x / n, y / n)
        };
        set.iter().skip(1).map(mass).collect::<Vec<_>>()
    };
    let moved = red(AugmentSettings { degrees: 0.0, translate: 0.2, scale: [1.0, 1.0] });
    assert!(moved.iter().all(|(n, x, y)| (n - 64.0).abs() < 1.0 && (x - 16.0).abs() < 6.5 && (y - 12.0).abs() < 4.9));
    assert!(moved.iter().any(|(_, x, _)| *x > 19.0) && moved.iter().any(|(_, x, _)| *x < 13.0));
    let shrunk = red(AugmentSettings { degrees: 10.0, translate: 0.0, scale: [0.6, 1.0] });
    assert!(
        shrunk.iter().all(|(n, x, y)| (21.0..66.0).contains(n) && (x - 16.0).abs() < 0.2 && (y - 12.0).abs() < 0.2)
    );
    assert!(shrunk.iter().any(|(n, ..)| *n < 35.0) && shrunk.iter().any(|(n, ..)| *n > 50.0));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let set = |image: &RgbImage, mask: Option<&GrayImage>, settings: AugmentSettings| {
        mini_set(image, mask, 1, &settings, &Noise::new(1)).unwrap_err().to_string()
    };
    assert!(set(&RgbImage::new(0, 4), None, AugmentSettings::default()).contains("has no pixels"));
    assert!(set(&picture(), Some(&GrayImage::new(4, 4)), AugmentSettings::default()).contains("a mask of 4×4 px"));
    let scale = [1.0, 0.5];
    assert!(set(&picture(), None, AugmentSettings { scale, ..AugmentSettings::default() }).contains("scale rise"));
    // A subject that fills the picture leaves a ground of its own colours.
    let full = GrayImage::from_pixel(32, 24, Luma([255]));
    let settings = AugmentSettings { scale: [0.5, 0.5], ..AugmentSettings::default() };
    let filled = mini_set(&picture(), Some(&full), 1, &settings, &Noise::new(1)).unwrap();
    assert!(filled[1].get_pixel(0, 0).0[2] > 150);
}
