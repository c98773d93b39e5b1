//! The keys that name benchmarks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{CompileContext, ConfigIssue};
use cafe_pipeline::text::counted;
use image::ImageReader;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::marks::Guard;
use crate::models::file_digest;
use crate::picture::Alpha;
use crate::source::{Below, below};

/// Bits of 64 in which the hashes of a picture and of its near copy may differ. Tools for 64-bit hashes take 10 as a
/// rule. With the photos of six DreamBench subjects, copies of half the size or in JPEG of quality 60 are at most 2 away,
/// those that lack 2 % at each border 8, at two borders 10; two photos, also of one subject, at least 16.
pub(super) const DISTANCE: u32 = 10;

/// Pictures that must stay unseen in training.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// What messages call it.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its folder, relative to the manifest's; pictures in all folders below count.
    pub path: PathBuf,
    /// What becomes of a stage into whose source one of its pictures has come.
    #[serde(default)]
    pub on_match: OnMatch,
}

/// What becomes of a stage into whose source a picture of a benchmark has come.
// It changes no byte of what is made, and is in no settings: a scan holds for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMatch {
    /// Near copies are quarantined, and it goes on without them.
    #[default]
    Quarantine,
    /// The whole source is scanned; then the stage stops, and `plan` and `run` refuse until the near copies are gone.
    Refuse,
}

/// A benchmark whose files were read.
pub(super) struct Files {
    pub(super) name: String,
    pub(super) root: PathBuf,
    /// Path from the root, and digest.
    pub(super) pictures: Vec<(String, Digest)>,
}

impl Guard {
    /// Checks the keys `benchmarks` and `benchmark_distance` of a stage that treats transparency as `alpha` says.
    pub(crate) fn compile(
        benchmarks: &[Benchmark],
        distance: Option<u32>,
        alpha: Alpha,
        context: &CompileContext<'_>,
        issues: &mut Vec<ConfigIssue>,
    ) -> Self {
        if benchmarks.is_empty() && distance.is_some() {
            issues.push(
                ConfigIssue::new("/benchmark_distance", "there are no benchmarks to be distant from")
                    .with_help("name one: `benchmarks = [{ name = \"dreambench\", path = \"…\" }]`, or leave it out"),
            );
        }
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for (index, benchmark) in benchmarks.iter().enumerate() {
            if !names.insert(&benchmark.name) {
                let message = format!("names `{}` a second time", benchmark.name);
                issues.push(ConfigIssue::new(format!("/benchmarks/{index}/name"), message));
            }
            match files(benchmark, context) {
                Ok(files) => all.push(files),
                Err(message) => issues.push(
                    ConfigIssue::new(format!("/benchmarks/{index}/path"), message)
                        .with_help("paths are relative to the manifest's folder"),
                ),
            }
        }
        Self::new(all, distance.unwrap_or(DISTANCE), alpha)
    }
}

/// The benchmarks that lie in the folder `source`, or around it: not one of their pictures could be used.
pub(crate) fn overlaps(benchmarks: &[Benchmark], source: &Path, context: &CompileContext<'_>) -> Vec<ConfigIssue> {
    let Ok(source) = source.canonicalize() else { return Vec::new() };
    let meets = |benchmark: &Benchmark| {
        let root = context.resolve(&benchmark.path).canonicalize();
        root.is_ok_and(|root| root.starts_with(&source) || source.starts_with(&root))
    };
    let met = benchmarks.iter().enumerate().filter(|(_, benchmark)| meets(benchmark));
    met.map(|(index, benchmark)| {
        let (path, name) = (benchmark.path.display(), &benchmark.name);
        let message = format!("the source's folder {} has the pictures of {name} ({path}) in it", source.display());
        ConfigIssue::new(format!("/benchmarks/{index}/path"), message)
            .with_help("keep the benchmark and what is trained on in folders apart")
    })
    .collect()
}

/// Reads the files; what is no picture, as far as a file's beginning tells, is refused.
fn files(benchmark: &Benchmark, context: &CompileContext<'_>) -> Result<Files, String> {
    let root = context.resolve(&benchmark.path);
    if !root.is_dir() {
        return Err(format!("there is no folder {}", root.display()));
    }
    let Below { pictures, n_ignored } = below(&root)?;
    if pictures.is_empty() {
        return Err(format!("{} holds no picture ({})", root.display(), counted(n_ignored, "other file")));
    }
    let read = pictures.into_par_iter().map(|file| {
        let path = root.join(&file);
        let at = |error: String| format!("cannot read {}: {error}", path.display());
        let reader = ImageReader::open(&path).and_then(ImageReader::with_guessed_format);
        reader.map_err(|error| at(error.to_string()))?.into_dimensions().map_err(|error| at(error.to_string()))?;
        let digest = file_digest(&path).map_err(|error| at(error.to_string()))?;
        Ok((file, digest))
    });
    let pictures = read.collect::<Result<Vec<_>, String>>()?;
    Ok(Files { name: benchmark.name.clone(), root, pictures })
}
