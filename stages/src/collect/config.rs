//! The keys of a `collect` stage.

use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{CompileContext, ConfigIssue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, Guard, overlaps};
use crate::picture::{Alpha, Limits};
use crate::source::Source;

/// Keys of a `collect` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// Where the pictures are.
    pub source: Source,
    /// Class of pictures that have none of their own.
    #[serde(default)]
    pub class: Option<String>,
    /// Licence of pictures that have none of their own.
    #[serde(default)]
    pub licence: Option<String>,
    /// Origin of pictures that have none of their own.
    #[serde(default)]
    pub source_name: Option<String>,
    /// What becomes of transparency.
    #[serde(default)]
    pub alpha: Alpha,
    /// What a picture may be; others are quarantined.
    #[serde(default)]
    pub limits: Limits,
    /// Shares of the subjects that go to each split, by a stable hash of the subject.
    #[serde(default)]
    pub splits: Splits,
    /// Pictures that must stay unseen, such as those of DreamBench: what nearly equals one of them is quarantined.
    #[serde(default)]
    pub benchmarks: Vec<Benchmark>,
    /// Bits, of 64, in which perceptual hashes of near copies differ at most. Default: 10.
    #[serde(default)]
    #[schemars(range(max = 20))]
    pub benchmark_distance: Option<u32>,
}

/// Shares of the subjects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Splits {
    /// For training.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub train: f64,
    /// For choosing settings.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub val: f64,
    /// For the last word.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
}

impl Default for Splits {
    fn default() -> Self {
        Self { train: 1.0, val: 0.0, test: 0.0 }
    }
}

impl Splits {
    /// What is wrong with the shares, as keys of a stage.
    pub(crate) fn issue(&self) -> Option<ConfigIssue> {
        let sum = self.train + self.val + self.test;
        ((sum - 1.0).abs() > 1e-6).then(|| {
            ConfigIssue::new("/splits", format!("the shares add up to {sum}"))
                .with_help("train, val and test must add up to 1")
        })
    }

    /// The split of a subject. Independent of the run's seed: a subject stays where it is for ever.
    pub(crate) fn of(&self, subject_id: &str) -> &'static str {
        let draw = Seed(0).child("split").child(subject_id).unit();
        if draw < self.train {
            "train"
        } else if draw < self.train + self.val {
            "val"
        } else if self.test > 0.0 {
            "test"
        } else if self.val > 0.0 {
            // The shares add up to one but for rounding.
            "val"
        } else {
            "train"
        }
    }
}

impl CollectConfig {
    /// Checks what a schema cannot say, and reads the benchmarks.
    pub(super) fn check(&self, context: &CompileContext<'_>) -> Result<Guard, Vec<ConfigIssue>> {
        let mut issues = Vec::new();
        issues.extend(self.splits.issue());
        let guard = Guard::compile(&self.benchmarks, self.benchmark_distance, self.alpha, context, &mut issues);
        if let Source::Folder { path, .. } = &self.source {
            issues.extend(overlaps(&self.benchmarks, &context.resolve(path), context));
        }
        let mut missing = |pointer: String, path: &std::path::Path, is_there: bool| {
            if !is_there {
                let message = format!("there is no {}", context.resolve(path).display());
                issues
                    .push(ConfigIssue::new(pointer, message).with_help("paths are relative to the manifest's folder"));
            }
        };
        match &self.source {
            Source::Folder { path, metadata, .. } => {
                missing("/source/path".to_owned(), path, context.resolve(path).is_dir());
                if let Some(metadata) = metadata {
                    missing("/source/metadata".to_owned(), metadata, context.resolve(metadata).is_file());
                }
            }
            Source::Webdataset { files } | Source::Parquet { files, .. } => {
                for (index, file) in files.iter().enumerate() {
                    missing(format!("/source/files/{index}"), file, context.resolve(file).is_file());
                }
            }
        }
        if issues.is_empty() { Ok(guard) } else { Err(issues) }
    }
}
