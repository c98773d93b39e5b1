//! What the pictures of benchmarks are known by, and who is too near to one.

use std::path::Path;
use std::sync::OnceLock;

use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::stage::{ErrorClass, WorkError};
use image::imageops::flip_horizontal;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::config::Files;
use crate::phash;
use crate::picture::{Alpha, Fault, Limits, Picture};

/// Keeps what nearly equals a benchmark's picture out.
pub(crate) struct Guard {
    benchmarks: Vec<Files>,
    distance: u32,
    alpha: Alpha,
    marks: OnceLock<Result<Marks, String>>,
}

/// The pictures of all benchmarks; none of them lets everything pass.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    all: Vec<Mark>,
    /// What is as near as this is too near.
    distance: u32,
}

/// What one picture is known by.
#[derive(Debug)]
struct Mark {
    benchmark: String,
    file: String,
    /// Of its pixels, as references have it.
    id: String,
    /// Perceptual hashes of the picture and of its mirror image, which is the commonest of augmentations.
    bits: u64,
    mirrored: u64,
}

/// How a picture is like a benchmark's. The order is that of distance, and then of what is to be told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    Equal,
    Near,
    Mirrored,
}

impl Guard {
    pub(super) fn new(benchmarks: Vec<Files>, distance: u32, alpha: Alpha) -> Self {
        Self { benchmarks, distance, alpha, marks: OnceLock::new() }
    }

    /// Puts what decides which pictures are kept out into the settings of a node: nothing, where there is no benchmark.
    pub(crate) fn add_to(&self, settings: &mut Value) {
        if let (Some(own), Some(settings)) = (self.settings(), settings.as_object_mut()) {
            settings.insert("benchmarks".to_owned(), own);
        }
    }

    /// Names are not in it: they are in messages only.
    pub(super) fn settings(&self) -> Option<Value> {
        let mut digests: Vec<&Digest> =
            self.benchmarks.iter().flat_map(|files| &files.pictures).map(|(_, digest)| digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let hasher = Hasher::new("benchmarks/v1");
        let hasher = digests.iter().fold(hasher, |hasher, digest| hasher.bytes("file", digest.as_bytes()));
        let settings = json!({ "files": hasher.digest(), "distance": self.distance });
        (!self.benchmarks.is_empty()).then_some(settings)
    }

    /// The marks, made when they are first asked for. Not to be called from a thread of rayon's, which is waited for.
    ///
    /// # Errors
    /// [`WorkError::Systemic`] when a picture of a benchmark cannot be decoded, or is not the one that was planned with.
    pub(crate) fn marks(&self) -> Result<&Marks, WorkError> {
        let made = self.marks.get_or_init(|| self.make());
        made.as_ref().map_err(|message| WorkError::Systemic(message.clone()))
    }

    fn make(&self) -> Result<Marks, String> {
        let files = |files: &Files| -> Result<Vec<Mark>, String> {
            let marks = files.pictures.par_iter().map(|(file, digest)| {
                let made = Mark::read(&files.root.join(file), *digest, self.alpha);
                let made =
                    made.map_err(|message| format!("the picture {file} of the benchmark {} {message}", files.name))?;
                Ok(Mark { benchmark: files.name.clone(), file: file.clone(), ..made })
            });
            marks.collect()
        };
        let all: Vec<Vec<Mark>> = self.benchmarks.iter().map(files).collect::<Result<_, String>>()?;
        Ok(Marks { all: all.into_iter().flatten().collect(), distance: self.distance })
    }
}

impl Mark {
    /// Without names.
    fn read(path: &Path, digest: Digest, alpha: Alpha) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
        if Digest::of(&bytes) != digest {
            return Err("was changed after the plan was made: run it again".to_owned());
        }
        // A benchmark is the user's own: whatever size its pictures have, they count.
        let limits = Limits { min_side_px: 1, max_file_bytes: u64::MAX, ..Limits::default() };
        let picture = Picture::decode(&bytes, &limits, alpha).map_err(|fault| fault.message)?;
        let pixels = picture.on_white();
        let (bits, mirrored) = (phash::bits(&pixels)?, phash::bits(&flip_horizontal(&pixels))?);
        Ok(Self { benchmark: String::new(), file: String::new(), id: picture.reference_id(), bits, mirrored })
    }

    /// How far a picture with `id` and `bits` is away, and how it is like this one.
    fn distance(&self, id: &str, bits: u64) -> (u32, Likeness) {
        if self.id == id {
            return (0, Likeness::Equal);
        }
        let near = ((self.bits ^ bits).count_ones(), Likeness::Near);
        near.min(((self.mirrored ^ bits).count_ones(), Likeness::Mirrored))
    }
}

impl Marks {
    /// Refuses a picture that nearly equals one of a benchmark.
    ///
    /// # Errors
    /// Which one, and how near it is.
    pub(crate) fn check(&self, picture: &Picture) -> Result<(), Fault> {
        if self.all.is_empty() {
            return Ok(());
        }
        let id = picture.reference_id();
        let bits = phash::bits(&picture.on_white()).map_err(|message| Fault::new(ErrorClass::Invalid, message))?;
        let nearest = self.all.iter().map(|mark| (mark.distance(&id, bits), mark)).min_by_key(|(away, _)| *away);
        let Some(((distance, likeness), mark)) = nearest.filter(|((away, _), _)| *away <= self.distance) else {
            return Ok(());
        };
        let Mark { benchmark, file, .. } = mark;
        let how = match likeness {
            Likeness::Equal => "has the pixels of",
            Likeness::Near => "nearly equals",
            Likeness::Mirrored => "is mirrored, and so nearly equals",
        };
        let (about, allowed) = (about(benchmark), self.distance);
        let message = format!("{how} {file}{about}distance {distance}, benchmark_distance is {allowed}");
        Err(Fault::new(ErrorClass::Benchmark, message))
    }
}

/// The part of a message that names the benchmark.
pub(super) fn about(benchmark: &str) -> String {
    format!(" of the benchmark {benchmark}, which must stay unseen: ")
}

/// Whether the message of a row in quarantine is about the benchmark of this name.
pub(super) fn is_about(message: &str, benchmark: &str) -> bool {
    message.contains(&about(benchmark))
}
