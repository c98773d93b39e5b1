mod detection;

use std::io::Cursor;

use candle_core::{DType, Device, Tensor};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Rgb, Rgba};

use super::*;
use crate::golden::{Golden, assert_close};

/// What a picture's file goes through before it reaches the engine: decoded, turned upright, laid on white.
fn decode(bytes: &[u8]) -> RgbImage {
    let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().into_decoder().unwrap();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).unwrap();
    image.apply_orientation(orientation);
    on_white(&image.into_rgba8())
}

fn picture(golden: &Golden, name: &str) -> RgbImage {
    decode(&std::fs::read(golden.folder().join(name)).unwrap())
}

fn processor(golden: &Golden, name: &str) -> ImageProcessor {
    let folder = golden.folder().join(name);
    assert!(folder.join("preprocessor_config.json").is_file());
    ImageProcessor::load(&folder, ImageProcessor::clip(1)).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b) = (numbers(a), numbers(b));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// Largest difference, and the mean difference, in levels of a byte.
fn levels(processor: &ImageProcessor, actual: &Tensor, expected: &Tensor) -> (f64, f64) {
    assert_eq!(actual.dims(), expected.dims());
    let std = Tensor::from_slice(&processor.std, (3, 1, 1), &Device::Cpu).unwrap();
    let expected = expected.to_dtype(DType::F32).unwrap();
    let difference = (actual - expected).unwrap().broadcast_mul(&std).unwrap();
    let levels = numbers(&(difference / processor.rescale_factor).unwrap());
    let largest = levels.iter().fold(0.0, |largest: f64, level| largest.max(level.abs()));
    (largest, levels.iter().map(|level| level.abs()).sum::<f64>() / levels.len() as f64)
}

/// Files without loss: what differs is the resize alone.
const LOSSLESS: [&str; 8] = [
    "grey.jpg",
    "grey.png",
    "grey_16.png",
    "grey_alpha.png",
    "rgb.png",
    "alpha.png",
    "palette.png",
    "palette_alpha.png",
];

/// JPEG in colour, where decoders differ by a level or two before the resize.
const LOSSY: [&str; 15] = [
    "tall.jpg",
    "wide.jpg",
    "half.jpg",
    "progressive.jpg",
    "turned_1.jpg",
    "turned_2.jpg",
    "turned_3.jpg",
    "turned_4.jpg",
    "turned_5.jpg",
    "turned_6.jpg",
    "turned_7.jpg",
    "turned_8.jpg",
    "cmyk.jpg",
    "cmyk_plain.jpg",
    "ycck.jpg",
];

#[test]
fn files_of_all_kinds_agree_with_pil_and_transformers() {
    let golden = Golden::open("picture");
    let processor = processor(&golden, "clip");
    let bounds = [(&LOSSLESS[..], 1.01, 0.03), (&LOSSY[..], 3.01, 0.5)];
    for (names, at_most, on_average) in bounds {
        for name in names {
            let actual = processor.process(&picture(&golden, name), &Device::Cpu).unwrap();
            let (largest, mean) = levels(&processor, &actual, golden.case(name));
            let distance = 1.0 - cosine(&actual, golden.case(name));
            println!("{name}: {largest:.2} levels at most, {mean:.3} on average, 1−cos = {distance:.1e}");
            assert!(largest <= at_most && mean <= on_average && distance <= 2e-4, "{name}");
        }
    }
}

#[test]
fn what_the_config_says_is_done_as_transformers_does_it() {
    let golden = Golden::open("picture");
    let image = picture(&golden, "rgb.png");
    for name in ["clip", "dinov2", "vit", "lanczos", "enlarged", "padded", "raw", "unnormalised"] {
        let processor = processor(&golden, name);
        let actual = processor.process(&image, &Device::Cpu).unwrap();
        let (largest, mean) = levels(&processor, &actual, golden.case(&format!("rgb.png.{name}")));
        println!("{name}: {largest:.2} levels at most, {mean:.4} on average");
        assert!(largest <= 1.01 && mean <= 0.03, "{name}");
    }
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("picture");
    let images = ["tall.jpg", "wide.jpg", "grey.png"].map(|name| picture(&golden, name));
    let processor = processor(&golden, "dinov2");
    let rows = images.each_ref().map(|image| processor.process(image, &Device::Cpu).unwrap());
    let batch = processor.process_batch(&images, &Device::Cpu).unwrap();
    assert_eq!(numbers(&batch), numbers(&Tensor::stack(&rows, 0).unwrap()));
    let message = ImageProcessor { crop: None, ..processor }.process_batch(&images, &Device::Cpu).unwrap_err();
    assert!(message.to_string().contains("come out as [3, 31, 24] and [3, 24, 37]"), "{message}");
    assert!(ImageProcessor::clip(224).process_batch(&[], &Device::Cpu).is_err());
}

/// The crop is taken before the resize, where it saves work: the pixels are those of a crop taken after it.
#[test]
fn what_the_crop_leaves_out_changes_nothing() {
    let golden = Golden::open("picture");
    for name in ["tall.jpg", "wide.jpg", "rgb.png"] {
        let image = picture(&golden, name);
        for edge in [23, 31, 100] {
            let cropped = ImageProcessor {
                resize: Some((Resize::ShortestEdge(edge), Filter::Bicubic)),
                crop: Some((21, 22)),
                ..ImageProcessor::clip(224)
            };
            let whole = ImageProcessor { crop: None, ..cropped.clone() }.process(&image, &Device::Cpu).unwrap();
            let (_, height, width) = whole.dims3().unwrap();
            let (top, left) = ((height - 21) / 2, (width - 22) / 2);
            let expected = whole.narrow(1, top, 21).unwrap().narrow(2, left, 22).unwrap();
            let actual = cropped.process(&image, &Device::Cpu).unwrap();
            // The weights are rounded to sixteen bits, in each crop by the largest of its own.
            let (largest, mean) = levels(&cropped, &actual, &expected);
            assert!(largest <= 1.01 && mean <= 0.002, "{name} {edge}: {largest} {mean}");
        }
    }
}

#[test]
fn presets_are_what_the_models_were_trained_with() {
    let published = |json: &str| config::parse(json.as_bytes()).unwrap();
    // openai/clip-vit-large-patch14-336, with sizes of one number as old files have them.
    let clip = published(
        r#"{"crop_size": 336, "do_center_crop": true, "do_normalize": true, "do_resize": true, "resample": 3,
            "feature_extractor_type": "CLIPFeatureExtractor", "size": 336, "image_processor_type": "CLIPImageProcessor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}"#,
    );
    assert_eq!(clip, ImageProcessor::clip(336));
    let dinov2 = published(
        r#"{"crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_convert_rgb": true,
            "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
            "image_processor_type": "BitImageProcessor", "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 256}}"#,
    );
    assert_eq!(dinov2, ImageProcessor::dino(224));
    assert_eq!(published("{}"), ImageProcessor::clip(224));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ImageProcessor::load(folder.path(), ImageProcessor::dino(98)).unwrap(), ImageProcessor::dino(98));
}

#[test]
fn what_the_config_cannot_mean_is_refused_by_key_and_value() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |json: &str| {
        std::fs::write(folder.path().join("preprocessor_config.json"), json).unwrap();
        ImageProcessor::load(folder.path(), ImageProcessor::clip(224)).unwrap_err().to_string()
    };
    for (json, wanted) in [
        ("{", "preprocessor_config.json: is not valid: EOF"),
        (r#"{"resample": 0}"#, "resample = 0 is not supported; supported are 1 (Lanczos), 2 (bilinear) and 3"),
        (r#"{"image_processor_type": "SamImageProcessor"}"#, "image_processor_type = \"SamImageProcessor\" is not"),
        (r#"{"size": {"longest_edge": 9, "shortest_edge": 8}}"#, "size = {\"longest_edge\":9,\"shortest_edge\":8} is"),
        (r#"{"size": {"height": 8}}"#, "size = {\"height\":8} is not supported; supported are a number"),
        (r#"{"size": {"shortest_edge": -8}}"#, "size = {\"shortest_edge\":-8} is not supported"),
        (r#"{"size": 0}"#, "size = 0 leaves no pixels"),
        (r#"{"crop_size": {"height": 0, "width": 3}}"#, "crop_size = 0 leaves no pixels"),
        (r#"{"crop_size": {"shortest_edge": 3}}"#, "crop_size = {\"shortest_edge\":3} is not supported"),
        (r#"{"image_mean": [0.5]}"#, "image_mean = [0.5] is not supported; three finite numbers are"),
        (r#"{"image_std": [1, 0, 1]}"#, "image_std = [1.0, 0.0, 1.0] would divide by zero"),
        (r#"{"do_pad": true}"#, "do_pad = true is not supported"),
    ] {
        let message = refused(json);
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn pictures_without_pixels_or_with_far_too_many_are_refused() {
    let process = |image: &RgbImage, processor: ImageProcessor| processor.process(image, &Device::Cpu);
    let empty = process(&RgbImage::new(0, 7), ImageProcessor::clip(224)).unwrap_err();
    assert!(empty.to_string().contains("0×7 px"), "{empty}");
    // As long and thin as a file may claim: only the crop is computed.
    let line = RgbImage::from_pixel(16_384, 1, Rgb([9, 90, 200]));
    let cropped = process(&line, ImageProcessor::clip(224)).unwrap();
    assert_eq!(cropped.dims(), [3, 224, 224]);
    let message = process(&line, ImageProcessor { crop: None, ..ImageProcessor::clip(224) }).unwrap_err();
    assert!(message.to_string().contains("at most 67108864 pixels"), "{message}");
    assert!(process(&line, ImageProcessor::clip(u32::MAX)).is_err());
    let padded = ImageProcessor { resize: None, crop: Some((70_000, 70_000)), ..ImageProcessor::clip(224) };
    let message = process(&line, padded).unwrap_err();
    assert!(message.to_string().contains("would become one of 70000×70000 px"), "{message}");
    assert!(pixels::from_image(&RgbImage::new(3, 0), (8, 8), &Device::Cpu).is_err());
    assert!(pixels::from_image(&line, (0, 8), &Device::Cpu).is_err());
    assert_eq!(pixels::from_image(&line, (64, 8), &Device::Cpu).unwrap().dims(), [1, 3, 64, 8]);
}

#[test]
fn hidden_colours_do_not_come_to_light() {
    let mut image = RgbaImage::from_pixel(3, 1, Rgba([10, 20, 30, 255]));
    image.put_pixel(1, 0, Rgba([200, 0, 0, 0]));
    image.put_pixel(2, 0, Rgba([0, 0, 0, 128]));
    assert_eq!(on_white(&image).into_raw(), [10, 20, 30, 255, 255, 255, 127, 127, 127]);
}

#[test]
fn pixels_agree_with_diffusers() {
    let golden = Golden::open("picture");
    let image = picture(&golden, "rgb.png");
    for (height, width) in [(24, 24), (17, 32), (31, 16)] {
        let actual = pixels::from_image(&image, (height, width), &Device::Cpu).unwrap();
        // One level of 255 is 2/255 here.
        let name = format!("pixels.{height}x{width}");
        let difference = numbers(&(&actual - golden.case(&name)).unwrap());
        assert!(difference.iter().all(|level| level.abs() < 1.01 * 2.0 / 255.0), "{name}");
        assert!(difference.iter().filter(|level| level.abs() > 1e-6).count() * 30 < difference.len(), "{name}");
    }
    let images = [image, picture(&golden, "tall.jpg")];
    let rows = images.each_ref().map(|image| pixels::from_image(image, (16, 24), &Device::Cpu).unwrap());
    let batch = pixels::from_images(&images, (16, 24), &Device::Cpu).unwrap();
    assert_eq!(numbers(&batch), numbers(&Tensor::cat(&rows, 0).unwrap()));
}

#[test]
fn images_agree_with_diffusers_to_the_bit() {
    let golden = Golden::open("picture");
    let decodings = golden.case("decodings");
    let images = pixels::to_images(decodings).unwrap();
    assert_eq!(images.iter().map(RgbImage::dimensions).collect::<Vec<_>>(), [(7, 5); 2]);
    let bytes: Vec<f64> = images.iter().flat_map(|image| image.as_raw().iter().copied().map(f64::from)).collect();
    assert_eq!(bytes, numbers(golden.case("images")));
    let again = pixels::from_images(&images, (5, 7), &Device::Cpu).unwrap();
    assert_close("there and back", &again, &decodings.clamp(-1.0, 1.0).unwrap(), 1.01 / 255.0);
    let broken = (decodings * f64::NAN).unwrap();
    assert!(pixels::to_images(&broken).unwrap_err().to_string().contains("NaN"));
    assert!(pixels::to_images(&decodings.narrow(1, 0, 2).unwrap()).is_err());
    assert!(pixels::to_images(&decodings.get(0).unwrap()).is_err());
}
