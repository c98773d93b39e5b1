//! A detector, loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cafe_engine::picture::ImageProcessor;
use cafe_engine::{Device, Tensor};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, ErrorClass, WorkError};
use image::RgbImage;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

use super::config::DetectorConfig;
use super::objects::{Object, objects};
use crate::models::{self, ModelStore};
use crate::onnx::{Graph, Library};
use crate::picture::Fault;

/// Where the graph is: optimum writes it beside the configs, and repositories have it in a folder of its own.
const GRAPHS: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// A detector. Its graph is loaded when it first looks at a picture.
pub(crate) struct Detector {
    config: DetectorConfig,
    processor: ImageProcessor,
    graph: Graph,
}

/// What the graph gives for one picture.
struct Outputs {
    logits: Vec<f32>,
    n_logits: usize,
    boxes: Vec<f32>,
}

impl Detector {
    /// The detector that a stage asks for by `named`, the value of the key at `pointer`, with the digest of its files.
    pub(crate) fn find(
        named: &str,
        models: &dyn ModelStore,
        pointer: &str,
        context: &CompileContext<'_>,
    ) -> Result<(Self, Digest), ConfigIssue> {
        let folder = models.folder(named, ModelRole::Detector, context).map_err(|missing| {
            let issue = ConfigIssue::new(pointer, missing.message);
            missing.help.into_iter().fold(issue, ConfigIssue::with_help)
        })?;
        let detector = Self::open(&folder, Library::find(models, context)).map_err(|fault| {
            ConfigIssue::new(pointer, format!("cannot use the detector {named}: {fault}")).with_help(
                "a detector is a folder with model.onnx, config.json and preprocessor_config.json, as \
                 `optimum-cli export onnx --task object-detection` makes it",
            )
        })?;
        Ok((detector, models::digest(&folder, pointer)?))
    }

    /// The detector in `folder`.
    pub(super) fn open(folder: &Path, library: Library) -> Result<Self, String> {
        let config = DetectorConfig::read(folder)?;
        let paths = GRAPHS.map(|name| folder.join(name));
        let graph: PathBuf = paths
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{} has neither {} nor {}", folder.display(), GRAPHS[0], GRAPHS[1]))?;
        if !folder.join("preprocessor_config.json").is_file() {
            return Err(format!("{} has no preprocessor_config.json", folder.display()));
        }
        let processor = ImageProcessor::load(folder, ImageProcessor::dino(224)).map_err(|error| error.to_string())?;
        Ok(Self { config, processor, graph: Graph::new(graph, library) })
    }

    /// From which score on its documentation takes an object for found.
    pub(crate) fn usual_score(&self) -> f64 {
        self.config.usual_score
    }

    /// The names of its classes, by number.
    pub(crate) fn labels(&self) -> &BTreeMap<usize, String> {
        &self.config.labels
    }

    /// The name of a class.
    pub(crate) fn label(&self, object: &Object) -> &str {
        self.config.labels.get(&object.label).map_or("?", String::as_str)
    }

    /// What it runs on, in a word.
    pub(crate) fn backend(&self) -> &'static str {
        self.graph.backend().unwrap_or("none")
    }

    /// `image` as the detector wants it: (3, H, W).
    ///
    /// # Errors
    /// When it is too long and thin for that.
    pub(crate) fn prepare(&self, image: &RgbImage) -> Result<Tensor, Fault> {
        let prepared = self.processor.process(image, &Device::Cpu);
        prepared.map_err(|error| Fault::new(ErrorClass::Invalid, format!("cannot be shown to the detector: {error}")))
    }

    /// What it finds in a picture that was prepared, with scores of `min_score` and more.
    pub(crate) fn look(&self, pixels: &Tensor, min_score: f64) -> Result<Vec<Object>, WorkError> {
        let Outputs { logits, n_logits, boxes } = self.outputs(pixels)?;
        Ok(objects(self.config.scores, (&logits, n_logits), &boxes, min_score))
    }

    /// How many objects it can find in a picture at most.
    pub(super) fn n_queries(&self, pixels: &Tensor) -> Result<usize, WorkError> {
        Ok(self.outputs(pixels)?.boxes.chunks_exact(4).count())
    }

    fn outputs(&self, pixels: &Tensor) -> Result<Outputs, WorkError> {
        let broken = |error: cafe_engine::EngineError| WorkError::Systemic(error.to_string());
        let (_, height, width) = pixels.dims3().map_err(|error| broken(error.into()))?;
        let values = pixels.flatten_all().and_then(|pixels| pixels.to_vec1::<f32>());
        let values = values.map_err(|error| broken(error.into()))?;
        self.graph.with(|session| {
            let outputs = run(session, (height, width), &values)?;
            let (n_classes, n_labels) = (self.config.scores.n_classes(outputs.n_logits), self.config.labels.len());
            if n_classes != n_labels {
                return Err(format!("its logits are of {n_classes} classes, and config.json names {n_labels}"));
            }
            if outputs.logits.iter().chain(&outputs.boxes).any(|number| !number.is_finite()) {
                return Err("it gives values that are no numbers: the weights are damaged".to_owned());
            }
            Ok(outputs)
        })
    }
}

/// Runs the graph on one picture, (3, H, W), all of which is picture and nothing padding.
fn run(session: &mut Session, (height, width): (usize, usize), values: &[f32]) -> Result<Outputs, String> {
    let text = |error: ort::Error| error.to_string();
    let mask = session.inputs().iter().find(|input| input.name() == "pixel_mask").map(|input| {
        // Exports may have it of a fixed size, whatever the picture's: the model makes it as large as its features.
        let declared: &[i64] = input.dtype().tensor_shape().map_or(&[], |shape| &shape[..]);
        let side = |at: usize, own: usize| {
            declared.get(at).and_then(|side| usize::try_from(*side).ok()).filter(|side| *side > 0).unwrap_or(own)
        };
        let shape = [1, side(1, height), side(2, width)];
        (shape, vec![1_i64; shape.iter().product()])
    });
    let pixels = TensorRef::from_array_view(([1, 3, height, width], values)).map_err(text)?;
    let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![("pixel_values", pixels.into())];
    if let Some((shape, ones)) = &mask {
        let mask = TensorRef::from_array_view((*shape, ones.as_slice())).map_err(text)?;
        inputs.push(("pixel_mask", mask.into()));
    }
    let outputs = session.run(inputs).map_err(text)?;
    let output = |name: &str| {
        let missing = || format!("it has no output `{name}`; an export of the task object-detection has one");
        let (shape, numbers) = outputs.get(name).ok_or_else(missing)?.try_extract_tensor::<f32>().map_err(text)?;
        Ok::<_, String>((shape.to_vec(), numbers.to_vec()))
    };
    let ((logits_shape, logits), (boxes_shape, boxes)) = (output("logits")?, output("pred_boxes")?);
    match (&logits_shape[..], &boxes_shape[..]) {
        ([1, queries, n_logits], [1, boxes_of, 4]) if queries == boxes_of && *n_logits > 0 => {
            Ok(Outputs { logits, n_logits: usize::try_from(*n_logits).unwrap_or(1), boxes })
        }
        _ => Err(format!(
            "its outputs have the shapes {logits_shape:?} and {boxes_shape:?}; of one picture (1, queries, classes) and (1, queries, 4) \
             were expected"
        )),
    }
}
