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
    resample: Option<u32>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Vec<f32>>,
    image_std: Option<Vec<f32>>,
    do_pad: Option<bool>,
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
    /// Whether a size of one number is the shorter side, and not a square.
    is_edge: bool,
    filter: Filter,
    has_crop: bool,
    mean: [f32; 3],
    std: [f32; 3],
}

const SUPPORTED_TYPES: &str = "CLIPImageProcessor, BitImageProcessor, ViTImageProcessor";

pub(super) fn parse(json: &[u8]) -> Result<ImageProcessor, String> {
    let config: Config = serde_json::from_slice(json).map_err(|error| format!("is not valid: {error}"))?;
    let kind = kind(config.image_processor_type.or(config.feature_extractor_type).as_deref())?;
    if config.do_pad == Some(true) {
        return Err("do_pad = true is not supported; only false is".to_owned());
    }
    let resize = match config.do_resize.unwrap_or(true) {
        true => Some((resize(config.size.as_ref(), &kind)?, filter(config.resample, &kind)?)),
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
    match base {
        Some("CLIP" | "Bit") => Ok(Kind { is_edge: true, filter: Filter::Bicubic, has_crop: true, mean, std }),
        Some("ViT") => {
            Ok(Kind { is_edge: false, filter: Filter::Bilinear, has_crop: false, mean: [0.5; 3], std: [0.5; 3] })
        }
        _ => Err(format!("image_processor_type = \"{full}\" is not supported; supported are {SUPPORTED_TYPES}")),
    }
}

fn resize(size: Option<&Size>, kind: &Kind) -> Result<Resize, String> {
    let square = |side| Resize::Exactly { height: side, width: side };
    let resize = match size {
        None if kind.is_edge => Resize::ShortestEdge(224),
        None => square(224),
        Some(Size::Number(side)) if kind.is_edge => Resize::ShortestEdge(*side),
        Some(Size::Number(side)) => square(*side),
        Some(Size::Keys(keys)) => match (keys.len(), number(keys, "shortest_edge")) {
            (1, Some(edge)) => Resize::ShortestEdge(edge),
            _ => {
                let (height, width) = height_and_width("size", keys, "{\"shortest_edge\": …} or ")?;
                Resize::Exactly { height, width }
            }
        },
    };
    match resize {
        Resize::ShortestEdge(0) | Resize::Exactly { height: 0, .. } | Resize::Exactly { width: 0, .. } => {
            Err("size = 0 leaves no pixels".to_owned())
        }
        resize => Ok(resize),
    }
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
