//! `preprocessor_config.json`, as transformers writes and wrote it.

use serde::Deserialize;
use serde_json::Value;

use super::processor::{ImageProcessor, Resize};
use super::resize::Filter;

/// The keys that matter; what a processor of the same name defaults to stands for those that are absent.
#[derive(Deserialize)]
struct Config {
    image_processor_type: Option<String>,
    /// What the key above was called before.
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Size>,
    /// The longest edge, where the size is one number.
    max_size: Option<u32>,
    resample: Option<u32>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Vec<f32>>,
    image_std: Option<Vec<f32>>,
    do_pad: Option<bool>,
    pad_size: Option<Value>,
}

/// A size: one number in old files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Number(u32),
    Keys(serde_json::Map<String, Value>),
}

/// The processors that are known, by what they do when the file is silent.
struct Kind {
    sides: Sides,
    filter: Filter,
    has_crop: bool,
    mean: [f32; 3],
    std: [f32; 3],
}

/// What a size of one number is.
#[derive(Clone, Copy)]
enum Sides {
    /// Both sides.
    Square,
    /// The shorter side.
    Edge,
    /// The shorter side, where the longer one stays within bounds: of detectors. They pad the pictures of a batch to one size, and
    /// here each is prepared alone.
    Within { multiple_of: u32 },
}

/// The longest edge where a detector's file does not say it.
const LONGEST_EDGE: u32 = 1333;

const SUPPORTED_TYPES: &str = "CLIPImageProcessor, BitImageProcessor, ViTImageProcessor, DetrImageProcessor, \
                               ConditionalDetrImageProcessor, YolosImageProcessor";

pub(super) fn parse(json: &[u8]) -> Result<ImageProcessor, String> {
    let config: Config = serde_json::from_slice(json).map_err(|error| format!("is not valid: {error}"))?;
    let kind = kind(config.image_processor_type.or(config.feature_extractor_type).as_deref())?;
    if config.do_pad == Some(true) && !matches!(kind.sides, Sides::Within { .. }) {
        return Err("do_pad = true is not supported; only false is".to_owned());
    }
    if let Some(size) = config.pad_size.as_ref().filter(|_| config.do_pad != Some(false)) {
        return Err(format!("pad_size = {size} is not supported: leave it out"));
    }
    let resize = match config.do_resize.unwrap_or(true) {
        true => {
            let size = resize(config.size.as_ref(), config.max_size, kind.sides)?;
            Some((size, filter(config.resample, &kind)?))
        }
        false => None,
    };
    let crop = match config.do_center_crop.unwrap_or(kind.has_crop) {
        true => Some(crop(config.crop_size.as_ref())?),
        false => None,
    };
    let rescale_factor = match config.do_rescale.unwrap_or(true) {
        true => config.rescale_factor.unwrap_or(1.0 / 255.0),
        false => 1.0,
    };
    if !rescale_factor.is_finite() {
        return Err(format!("rescale_factor = {rescale_factor} is not a finite number"));
    }
    let (mean, std) = match config.do_normalize.unwrap_or(true) {
        true => (
            channels("image_mean", config.image_mean.as_deref(), kind.mean)?,
            channels("image_std", config.image_std.as_deref(), kind.std)?,
        ),
        false => ([0.0; 3], [1.0; 3]),
    };
    if std.contains(&0.0) {
        return Err(format!("image_std = {std:?} would divide by zero"));
    }
    Ok(ImageProcessor { resize, crop, rescale_factor, mean, std })
}

fn kind(name: Option<&str>) -> Result<Kind, String> {
    // The oldest files are CLIP's, and name no processor.
    let full = name.unwrap_or("CLIPImageProcessor");
    // `…Fast` and `…Pil` say who computes it, `…FeatureExtractor` is what it was called before.
    let base = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"]
        .iter()
        .find_map(|suffix| full.strip_suffix(suffix));
    let ImageProcessor { mean, std, .. } = ImageProcessor::clip(224);
    let detector = |multiple_of: u32| {
        let ImageProcessor { mean, std, .. } = ImageProcessor::dino(224);
        Kind { sides: Sides::Within { multiple_of }, filter: Filter::Bilinear, has_crop: false, mean, std }
    };
    match base {
        Some("CLIP" | "Bit") => Ok(Kind { sides: Sides::Edge, filter: Filter::Bicubic, has_crop: true, mean, std }),
        Some("ViT") => {
            Ok(Kind { sides: Sides::Square, filter: Filter::Bilinear, has_crop: false, mean: [0.5; 3], std: [0.5; 3] })
        }
        Some("Detr" | "ConditionalDetr") => Ok(detector(1)),
        Some("Yolos") => Ok(detector(16)),
        _ => Err(format!("image_processor_type = \"{full}\" is not supported; supported are {SUPPORTED_TYPES}")),
    }
}

fn resize(size: Option<&Size>, max_size: Option<u32>, sides: Sides) -> Result<Resize, String> {
    let one = |number: u32, longest: u32| match sides {
        Sides::Square => Resize::Exactly { height: number, width: number },
        Sides::Edge => Resize::ShortestEdge(number),
        Sides::Within { multiple_of } => Resize::Within { shortest: number, longest, multiple_of },
    };
    let resize = match (size, sides) {
        (None, Sides::Within { .. }) => one(800, LONGEST_EDGE),
        (None, _) => one(224, 0),
        (Some(Size::Number(number)), _) => one(*number, max_size.unwrap_or(LONGEST_EDGE)),
        (Some(Size::Keys(keys)), Sides::Within { .. }) => {
            match (keys.len(), number(keys, "shortest_edge"), number(keys, "longest_edge")) {
                (2, Some(shortest), Some(longest)) => one(shortest, longest),
                _ => exactly(keys, "{\"shortest_edge\": …, \"longest_edge\": …} or ")?,
            }
        }
        (Some(Size::Keys(keys)), _) => match (keys.len(), number(keys, "shortest_edge")) {
            (1, Some(edge)) => Resize::ShortestEdge(edge),
            _ => exactly(keys, "{\"shortest_edge\": …} or ")?,
        },
    };
    match resize {
        Resize::ShortestEdge(0)
        | Resize::Exactly { height: 0, .. }
        | Resize::Exactly { width: 0, .. }
        | Resize::Within { shortest: 0, .. }
        | Resize::Within { longest: 0, .. } => Err("size = 0 leaves no pixels".to_owned()),
        resize => Ok(resize),
    }
}

fn exactly(keys: &serde_json::Map<String, Value>, also: &str) -> Result<Resize, String> {
    let (height, width) = height_and_width("size", keys, also)?;
    Ok(Resize::Exactly { height, width })
}

fn crop(size: Option<&Size>) -> Result<(u32, u32), String> {
    let crop = match size {
        None => (224, 224),
        Some(Size::Number(side)) => (*side, *side),
        Some(Size::Keys(keys)) => height_and_width("crop_size", keys, "")?,
    };
    if crop.0 == 0 || crop.1 == 0 { Err("crop_size = 0 leaves no pixels".to_owned()) } else { Ok(crop) }
}

fn height_and_width(key: &str, keys: &serde_json::Map<String, Value>, also: &str) -> Result<(u32, u32), String> {
    match (keys.len(), number(keys, "height"), number(keys, "width")) {
        (2, Some(height), Some(width)) => Ok((height, width)),
        _ => Err(format!(
            "{key} = {} is not supported; supported are a number, {also}{{\"height\": …, \"width\": …}}",
            Value::Object(keys.clone())
        )),
    }
}

fn number(keys: &serde_json::Map<String, Value>, key: &str) -> Option<u32> {
    keys.get(key)?.as_u64()?.try_into().ok()
}

fn filter(resample: Option<u32>, kind: &Kind) -> Result<Filter, String> {
    match resample {
        None => Ok(kind.filter),
        Some(1) => Ok(Filter::Lanczos),
        Some(2) => Ok(Filter::Bilinear),
        Some(3) => Ok(Filter::Bicubic),
        Some(other) => {
            Err(format!("resample = {other} is not supported; supported are 1 (Lanczos), 2 (bilinear) and 3 (bicubic)"))
        }
    }
}

fn channels(key: &str, values: Option<&[f32]>, default: [f32; 3]) -> Result<[f32; 3], String> {
    let Some(values) = values else { return Ok(default) };
    match <[f32; 3]>::try_from(values) {
        Ok(values) if values.iter().all(|value| value.is_finite()) => Ok(values),
        _ => Err(format!("{key} = {values:?} is not supported; three finite numbers are: red, green, blue")),
    }
}
