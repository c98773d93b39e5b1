//! The row "Real Images" of DreamBench: how like the pictures of one subject are to each other, by the encoders that
//! filter. It is published, so that it tells whether encoders and preprocessing are those of the literature.
//!
//! For each subject the mean cosine over all pairs of two of its pictures, and the mean of that over subjects.

use std::fs;
use std::path::{Path, PathBuf};

use cafe_engine::picture::ImageProcessor;
use cafe_pipeline::stage::{CompileContext, ErrorClass, WorkError};
use rayon::prelude::*;

use super::encoders::{embed, picture};
use super::known::{Vector, cosine};
use super::models::Models;
use super::overlap::overlapped;
use super::settings::ModelFacts;
use super::towers::Kind;
use crate::models::ModelStore;
use crate::onnx::Library;
use crate::picture::Limits;
use crate::source::{Below, below};

/// Pictures that a model is given at once.
const BATCH: usize = 16;

/// What was computed.
#[derive(Clone, Debug)]
pub struct RealImages {
    /// Those with two pictures or more, by name.
    pub subjects: Vec<Subject>,
    /// Those with one picture, which cannot be compared.
    pub skipped: Vec<String>,
    /// Files of the folder that are no pictures of a subject.
    pub n_ignored: u64,
    /// What computed CLIP-I.
    pub clip: Encoder,
    /// What computed DINO.
    pub dino: Encoder,
}

/// A subject, and the mean cosines of its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its folder's name.
    pub name: String,
    /// How many pictures it has.
    pub n_pictures: usize,
    /// By CLIP.
    pub clip_i: f64,
    /// By DINO.
    pub dino: f64,
}

/// An encoder, and how it ran.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Its weights.
    pub model: ModelFacts,
    /// `onnxruntime`, `tract` or `candle`.
    pub backend: String,
    /// Whether pictures are prepared as in evaluations: CLIP's own way, or for DINO the shorter side to 256, bicubic, the
    /// centre 224², the mean and deviation of ImageNet.
    pub has_usual_preprocessing: bool,
}

/// Why nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RealImagesError {
    /// The folder is not the benchmark, or a picture of it is damaged.
    #[error("{0}")]
    Folder(String),
    /// A model cannot be loaded or run.
    #[error("{0}")]
    Model(String),
}

impl RealImages {
    /// The mean of `score` over subjects.
    #[must_use]
    pub fn mean(&self, score: impl Fn(&Subject) -> f64) -> f64 {
        mean(self.subjects.iter().map(score))
    }

    /// All pictures that were compared.
    #[must_use]
    pub fn n_pictures(&self) -> usize {
        self.subjects.iter().map(|subject| subject.n_pictures).sum()
    }
}

/// Computes it for `folder`, which has the folder `dataset` of google/dreambooth in it or is that folder, with the models
/// in `clip` and `dino`. `store` knows where onnxruntime is.
///
/// # Errors
/// See [`RealImagesError`]. A damaged picture is an error: without it, the benchmark would be another.
pub fn real_images(
    folder: &Path,
    (clip, dino): (&Path, &Path),
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<RealImages, RealImagesError> {
    let (subjects, n_ignored) = list(folder)?;
    let (alone, subjects): (Vec<_>, Vec<_>) = subjects.into_iter().partition(|(_, pictures)| pictures.len() < 2);
    if subjects.is_empty() {
        let message = format!("no subject in {} has two pictures: there is nothing to compare", folder.display());
        return Err(RealImagesError::Folder(message));
    }
    let library = Library::find(store, context);
    let files: Vec<&PathBuf> = subjects.iter().flat_map(|(_, pictures)| pictures).collect();
    let (clip, of_clip) = embedded(Kind::Clip, clip, &library, &files)?;
    let (dino, of_dino) = embedded(Kind::Dino, dino, &library, &files)?;
    let (mut of_clip, mut of_dino) = (of_clip.as_slice(), of_dino.as_slice());
    let subjects = subjects.into_iter().map(|(name, pictures)| {
        let n_pictures = pictures.len();
        let (clip_i, dino) = (alike(take(&mut of_clip, n_pictures)), alike(take(&mut of_dino, n_pictures)));
        Subject { name, n_pictures, clip_i, dino }
    });
    let skipped = alone.into_iter().map(|(name, _)| name).collect();
    Ok(RealImages { subjects: subjects.collect(), skipped, n_ignored, clip, dino })
}

/// The first `n` of `vectors`, which loses them.
fn take<'a>(vectors: &mut &'a [Vector], n: usize) -> &'a [Vector] {
    let all: &'a [Vector] = vectors;
    let (first, rest) = all.split_at_checked(n).unwrap_or((all, &[]));
    *vectors = rest;
    first
}

/// The mean cosine over all pairs of two.
fn alike(vectors: &[Vector]) -> f64 {
    let pairs =
        vectors.iter().enumerate().flat_map(|(at, one)| vectors.iter().skip(at + 1).map(move |other| (one, other)));
    mean(pairs.map(|(one, other)| f64::from(cosine(one, other))))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), value| (sum + value, n + 1));
    sum / f64::from(n.max(1))
}

/// A subject's name, and its pictures.
type Listed = (String, Vec<PathBuf>);

/// The subjects of `folder`, by name, and how many files were ignored.
fn list(folder: &Path) -> Result<(Vec<Listed>, u64), RealImagesError> {
    if !folder.is_dir() {
        return Err(RealImagesError::Folder(format!("there is no folder {}", folder.display())));
    }
    let inner = folder.join("dataset");
    let root = if inner.is_dir() { inner } else { folder.to_owned() };
    let Below { pictures, mut n_ignored } = below(&root).map_err(RealImagesError::Folder)?;
    let mut subjects: Vec<Listed> = Vec::new();
    for picture in pictures {
        match picture.split_once('/') {
            Some((subject, name)) if !name.contains('/') => {
                let path = root.join(&picture);
                match subjects.last_mut().filter(|(last, _)| last == subject) {
                    Some((_, paths)) => paths.push(path),
                    None => subjects.push((subject.to_owned(), vec![path])),
                }
            }
            _ => n_ignored += 1,
        }
    }
    if subjects.is_empty() {
        let message = format!("{} holds no pictures of subjects, such as dog/00.jpg", root.display());
        return Err(RealImagesError::Folder(message));
    }
    Ok((subjects, n_ignored))
}

/// The embeddings of `files`, in their order.
fn embedded(
    kind: Kind,
    folder: &Path,
    library: &Library,
    files: &[&PathBuf],
) -> Result<(Encoder, Vec<Vector>), RealImagesError> {
    let (role, usual) = match kind {
        Kind::Clip => ("clip_filter", ImageProcessor::clip(224)),
        Kind::Dino => ("dino_filter", ImageProcessor::dino(224)),
    };
    let failed = |error: WorkError| RealImagesError::Model(error.to_string());
    let model = ModelFacts::read(folder, role, "").map_err(|issue| RealImagesError::Model(issue.message))?;
    let limits = Limits { min_side_px: 1, ..Limits::default() };
    let models = Models::new(folder.to_owned(), library.clone(), BATCH, limits);
    let tower = models.images(kind).map_err(failed)?;
    let chunks: Vec<&[&PathBuf]> = files.chunks(models.batch).collect();
    let prepare = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(|error| (ErrorClass::Unreadable, error.to_string()))?;
        picture(tower, &bytes, &models.limits)
    };
    let make = |chunk: &&[&PathBuf]| chunk.par_iter().map(|path| prepare(path)).collect::<Vec<_>>();
    let mut vectors = Vec::with_capacity(files.len());
    overlapped(&chunks, make, |chunk, pictures| {
        for (path, made) in chunk.iter().zip(embed(tower, pictures).map_err(failed)?) {
            let vector = made.map_err(|(_, message)| format!("{}: {message}", path.display()));
            vectors.push(vector.map_err(RealImagesError::Folder)?);
        }
        Ok::<(), RealImagesError>(())
    })?;
    let has_usual_preprocessing = tower.processor == usual;
    Ok((Encoder { model, backend: models.backend(kind), has_usual_preprocessing }, vectors))
}
