//! Detectors that can be seen through, and what transformers finds with them: `golden.py` makes both.

use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Seed;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::CompileContext;
use image::{Rgb, RgbImage};
use serde::Deserialize;
use serde_json::json;

use super::objects::{Object, Scores, objects};
use super::{Detector, verify};
use crate::models::{ModelStore, NoModel};

/// What `golden.py` wrote down.
#[derive(Deserialize)]
struct Golden {
    outputs: Vec<Outputs>,
    pictures: Vec<Picture>,
}

#[derive(Deserialize)]
struct Outputs {
    scores: String,
    logits: Vec<Vec<f32>>,
    boxes: Vec<[f32; 4]>,
    found: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    min_score: f64,
    objects: Vec<Known>,
}

#[derive(Deserialize)]
struct Picture {
    detector: String,
    picture: String,
    quarters: [[u8; 3]; 4],
    objects: Vec<Known>,
}

#[derive(Debug, Deserialize)]
struct Known {
    label: usize,
    score: f32,
    corners: [f32; 4],
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

/// The folder of a detector of these tests.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/detect/tests").join(name)
}

/// A picture of four colours: of the quarters at the upper left, upper right, lower left and lower right.
pub(crate) fn quarters(colours: [[u8; 3]; 4]) -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| Rgb(colours[2 * (y as usize / 32) + x as usize / 32]))
}

/// Detectors by the names of their folders; no library.
struct Store;

impl ModelStore for Store {
    fn folder(&self, named: &str, role: ModelRole, _: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        let found = if Path::new(named).is_absolute() { PathBuf::from(named) } else { folder(named) };
        if role == ModelRole::Detector && found.is_dir() {
            return Ok(found);
        }
        Err(NoModel { message: format!("there is no model {named}"), help: Some("fetch it".to_owned()) })
    }
}

fn detector(named: &str) -> Result<Detector, cafe_pipeline::stage::ConfigIssue> {
    let context = CompileContext::new(Path::new("."), Seed(7));
    Detector::find(named, &Store, "/detector", &context).map(|(detector, _)| detector)
}

#[track_caller]
fn same(found: &[Object], known: &[Known], most: f32) {
    assert_eq!(found.len(), known.len(), "{found:?} is not {known:?}");
    for (object, known) in found.iter().zip(known) {
        let is_near = (object.score - known.score).abs() <= most
            && object.corners.iter().zip(known.corners).all(|(one, other)| (one - other).abs() <= most);
        assert!(object.label == known.label && is_near, "{object:?} is not {known:?}");
    }
}

#[test]
fn outputs_are_read_as_transformers_reads_them() {
    for Outputs { scores, logits, boxes, found } in golden().outputs {
        let n_logits = logits[0].len();
        let scores = if scores == "softmax" { Scores::Softmax } else { Scores::Sigmoid };
        let (logits, boxes) = (logits.concat(), boxes.concat());
        for Found { min_score, objects: known } in found {
            let found = objects(scores, (&logits, n_logits), &boxes, min_score);
            same(&found, &known, 1e-5);
        }
    }
}

/// By onnxruntime or tract, as the tests were started.
#[test]
fn pictures_hold_what_transformers_finds_in_them() {
    for Picture { detector: name, picture, quarters: colours, objects: known } in golden().pictures {
        let detector = detector(&name).unwrap();
        let pixels = detector.prepare(&quarters(colours)).unwrap();
        assert_eq!(pixels.dims(), [3, 8, 8]);
        let found = detector.look(&pixels, 0.5).unwrap();
        println!("{name}, {picture}: {found:?}");
        same(&found, &known, 1e-2);
    }
}

#[test]
fn a_share_is_of_what_is_seen() {
    let share = |corners: [f32; 4]| Object { label: 0, score: 1.0, corners }.share();
    assert!((share([0.25, 0.5, 0.75, 1.0]) - 0.25).abs() < 1e-6);
    // Half of it is beyond the border.
    assert!((share([0.5, 0.0, 1.5, 1.0]) - 0.5).abs() < 1e-6);
    assert_eq!(share([1.1, 0.0, 1.5, 1.0]), 0.0);
}

#[test]
fn labels_and_usual_scores_are_the_models() {
    let detr = detector("detr").unwrap();
    let labels: Vec<&str> = detr.labels().values().map(String::as_str).collect();
    assert_eq!((labels, detr.usual_score()), (vec!["red thing", "green thing"], 0.9));
    assert_eq!(detector("conditional_detr").unwrap().usual_score(), 0.5);
    let said = verify(&folder("detr"), &Store, &CompileContext::new(Path::new("."), Seed(7))).unwrap();
    assert!(said.starts_with("4 queries of 2 classes on "), "{said}");
}

/// A copy of `detr` without one of its files.
fn without(file: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "preprocessor_config.json", "model.onnx"].into_iter().filter(|name| *name != file) {
        std::fs::copy(folder("detr").join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn what_is_no_detector_is_said() {
    let absent = detector("absent").err().unwrap();
    assert_eq!((absent.pointer.as_str(), absent.help.as_deref()), ("/detector", Some("fetch it")));
    for (file, wanted) in [
        ("config.json", "cannot read "),
        ("preprocessor_config.json", "has no preprocessor_config.json"),
        ("model.onnx", "has neither model.onnx nor onnx/model.onnx"),
    ] {
        let copy = without(file);
        let issue = detector(copy.path().to_str().unwrap()).err().unwrap();
        assert!(issue.message.starts_with("cannot use the detector ") && issue.message.contains(wanted), "{issue:?}");
        assert!(issue.help.unwrap().contains("optimum-cli"));
    }
    // A graph is opened when there is something to look at.
    let looked = |copy: &tempfile::TempDir| {
        let detector = detector(copy.path().to_str().unwrap()).unwrap();
        let pixels = detector.prepare(&quarters([[255; 3]; 4])).unwrap();
        detector.look(&pixels, 0.5).unwrap_err().to_string()
    };
    let broken = without("model.onnx");
    std::fs::write(broken.path().join("model.onnx"), "not a graph").unwrap();
    assert!(looked(&broken).starts_with("cannot run "));
    let other = without("config.json");
    let config = json!({ "model_type": "detr", "id2label": { "0": "cat", "1": "dog", "2": "bird" } });
    std::fs::write(other.path().join("config.json"), config.to_string()).unwrap();
    let error = looked(&other);
    assert!(error.contains("its logits are of 2 classes, and config.json names 3"), "{error}");
}

#[test]
fn a_picture_that_is_too_thin_is_the_pictures_fault() {
    let copy = without("preprocessor_config.json");
    let config = json!({ "image_processor_type": "DetrImageProcessor" });
    std::fs::write(copy.path().join("preprocessor_config.json"), config.to_string()).unwrap();
    let detector = detector(copy.path().to_str().unwrap()).unwrap();
    let fault = detector.prepare(&RgbImage::new(4000, 1)).err().unwrap();
    assert!(fault.message.contains("4000×1 px cannot have sides of 800 to 1333 px"), "{}", fault.message);
}
