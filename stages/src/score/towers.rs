//! Pictures and texts to embeddings of unit length: by ONNX where the model's folder has it, else by the engine.

use std::path::Path;

use cafe_engine::encoder::clip::{ClipImage, ClipText};
use cafe_engine::encoder::dino::Dino;
use cafe_engine::encoder::tokenizer::TextTokenizer;
use cafe_engine::op::on_cores;
use cafe_engine::picture::ImageProcessor;
use cafe_engine::{Device, EngineError, Tensor};
use cafe_pipeline::stage::WorkError;

use super::known::{Vector, unit};
use crate::onnx::{Graph, Library};

/// Which kind of encoder a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Clip,
    Dino,
}

impl Kind {
    /// The file that has its image tower in ONNX.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Clip => "image.onnx",
            Self::Dino => "model.onnx",
        }
    }
}

/// `file` of `folder`, where there is one.
pub(super) fn graph(folder: &Path, file: &str, library: &Library) -> Option<Graph> {
    let path = folder.join(file);
    path.is_file().then(|| Graph::new(path, library.clone()))
}

/// Pictures to embeddings.
pub(super) struct ImageTower {
    /// What pictures are put through before.
    pub(super) processor: ImageProcessor,
    runs: ImageRuns,
}

enum ImageRuns {
    Onnx(Graph),
    Clip(Box<ClipImage>),
    Dino(Box<Dino>),
}

impl ImageTower {
    pub(super) fn load(folder: &Path, kind: Kind, library: &Library) -> Result<Self, EngineError> {
        // Published folders without a `preprocessor_config.json` are of models of this size.
        let default = if kind == Kind::Clip { ImageProcessor::clip(224) } else { ImageProcessor::dino(224) };
        let processor = ImageProcessor::load(folder, default)?;
        let runs = match (graph(folder, kind.file(), library), kind) {
            (Some(graph), _) => ImageRuns::Onnx(graph),
            (None, Kind::Clip) => ImageRuns::Clip(Box::new(ClipImage::load(folder, &Device::Cpu)?)),
            (None, Kind::Dino) => ImageRuns::Dino(Box::new(Dino::load(folder, &Device::Cpu)?)),
        };
        Ok(Self { processor, runs })
    }

    /// The embeddings of pictures that the processor prepared, each (3, H, W).
    pub(super) fn embed(&self, pixels: &[Tensor]) -> Result<Vec<Vector>, WorkError> {
        let batch = engine(|| Ok(Tensor::stack(pixels, 0)?))?; // (B, 3, H, W)
        sound(match &self.runs {
            ImageRuns::Onnx(graph) => {
                let values = engine(|| Ok(batch.flatten_all()?.to_vec1::<f32>()?))?;
                graph.run(batch.dims(), &values)?
            }
            ImageRuns::Clip(model) => engine(|| Ok(on_cores(|| model.forward(&batch)?.to_vec2())?))?,
            ImageRuns::Dino(model) => engine(|| Ok(on_cores(|| model.forward(&batch)?.to_vec2())?))?,
        })
    }
}

/// Texts to embeddings.
pub(super) struct TextTower {
    tokenizer: TextTokenizer,
    runs: TextRuns,
}

enum TextRuns {
    Onnx(Graph),
    Clip(Box<ClipText>),
}

impl TextTower {
    pub(super) fn load(folder: &Path, library: &Library) -> Result<Self, EngineError> {
        let tokenizer = TextTokenizer::load(folder)?;
        let runs = match graph(folder, "text.onnx", library) {
            Some(graph) => TextRuns::Onnx(graph),
            None => TextRuns::Clip(Box::new(ClipText::load(folder, &Device::Cpu)?)),
        };
        Ok(Self { tokenizer, runs })
    }

    /// The embedding of `text`. What is longer than the tower takes is cut off.
    pub(super) fn embed(&self, text: &str) -> Result<Vector, WorkError> {
        let ids = engine(|| self.tokenizer.encode(&[text], &Device::Cpu))?; // (1, T)
        let made = match &self.runs {
            TextRuns::Onnx(graph) => {
                let values = engine(|| Ok(ids.flatten_all()?.to_vec1::<u32>()?))?;
                graph.run(ids.dims(), &values.into_iter().map(i64::from).collect::<Vec<i64>>())?
            }
            TextRuns::Clip(model) => engine(|| Ok(on_cores(|| model.forward(&ids)?.to_vec2())?))?,
        };
        let embedding = sound(made)?.into_iter().next();
        embedding.ok_or_else(|| WorkError::Systemic("the text tower gave no embedding".to_owned()))
    }
}

/// What goes wrong in a model goes wrong for every row.
fn engine<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, WorkError> {
    work().map_err(|error| WorkError::Systemic(error.to_string()))
}

/// Embeddings with unit length. What is no number comes from damaged weights.
fn sound(made: Vec<Vec<f32>>) -> Result<Vec<Vector>, WorkError> {
    if made.iter().flatten().any(|number| !number.is_finite()) {
        return Err(WorkError::Systemic(
            "an embedding has values that are no numbers: the weights are damaged; see `cafe-data models verify`"
                .to_owned(),
        ));
    }
    Ok(made.iter().map(|embedding| unit(embedding)).collect())
}
