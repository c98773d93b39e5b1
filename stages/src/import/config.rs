//! The keys of an `import` stage.

use std::path::{Path, PathBuf};

use cafe_pipeline::stage::{CompileContext, ConfigIssue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, Guard};
use crate::collect::Splits;
use crate::picture::{Alpha, Limits};

/// Keys of an `import` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportConfig {
    /// Where the pairs are.
    pub source: ImportSource,
    /// Whether reference and target are two pictures, or the halves of one.
    #[serde(default)]
    pub layout: Layout,
    /// `side_by_side`: width of the frame around both halves, and of the bar between them.
    #[serde(default)]
    #[schemars(range(max = 4096))]
    pub padding_px: u32,
    /// Class of pairs that have none of their own.
    #[serde(default)]
    pub class: Option<String>,
    /// Licence of pairs that have none of their own.
    #[serde(default)]
    pub licence: Option<String>,
    /// Origin of pairs that have none of their own.
    #[serde(default)]
    pub source_name: Option<String>,
    /// What becomes of transparency.
    #[serde(default)]
    pub alpha: Alpha,
    /// What a picture may be; pairs with others are quarantined.
    #[serde(default)]
    pub limits: Limits,
    /// Shares of the subjects that go to each split, by a stable hash of the subject.
    #[serde(default)]
    pub splits: Splits,
    /// Pictures that must stay unseen, such as those of DreamBench: pairs with a picture that nearly equals one of
    /// them are quarantined.
    #[serde(default)]
    pub benchmarks: Vec<Benchmark>,
    /// Bits, of 64, in which perceptual hashes of near copies differ at most. Default: 10.
    #[serde(default)]
    #[schemars(range(max = 20))]
    pub benchmark_distance: Option<u32>,
}

/// Where pairs come from. Paths are relative to the manifest's folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImportSource {
    /// A folder whose `metadata.csv` or `metadata.jsonl` names a `reference` and a `target` file in each row, with an
    /// `instruction`, a `caption` or both, and labels.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The table of pairs, where it is not found by its name.
        #[serde(default)]
        metadata: Option<PathBuf>,
    },
    /// Parquet files, for example those of Subjects200K.
    Parquet {
        /// The files.
        #[schemars(length(min = 1))]
        files: Vec<PathBuf>,
        /// Which columns hold what.
        columns: PairColumns,
    },
}

/// How the two pictures of a pair are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Each by itself.
    #[default]
    Separate,
    /// In one picture: the reference is its left half, the target its right one.
    SideBySide,
}

/// Names of columns. A field of a struct is written with a dot: `description.item`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PairColumns {
    /// Reference pictures, or with `side_by_side` both; default `reference`, with `side_by_side` `image`.
    pub reference: Option<String>,
    /// Target pictures; default `target`.
    pub target: Option<String>,
    /// What was asked for. Where it is missing, the caption stands in for it.
    pub instruction: Option<String>,
    /// What the target shows. Where it is missing, the instruction stands in for it.
    pub caption: Option<String>,
    /// What the reference shows.
    pub reference_caption: Option<String>,
    /// Class, such as `dog`.
    pub class: Option<String>,
    /// What the reference shows: several pictures of one subject never fall into two splits.
    pub subject_id: Option<String>,
    /// Licence.
    pub licence: Option<String>,
    /// Where it comes from.
    pub source: Option<String>,
}

impl PairColumns {
    /// The column of references.
    pub(super) fn reference(&self, layout: Layout) -> String {
        let default = if layout == Layout::SideBySide { "image" } else { "reference" };
        self.reference.clone().unwrap_or_else(|| default.to_owned())
    }

    /// The column of targets.
    pub(super) fn target(&self) -> String {
        self.target.clone().unwrap_or_else(|| "target".to_owned())
    }

    /// Field → column, of the texts that are named.
    pub(super) fn texts(&self) -> Vec<(&'static str, &str)> {
        [
            ("instruction", &self.instruction),
            ("caption", &self.caption),
            ("reference_caption", &self.reference_caption),
            ("class", &self.class),
            ("subject_id", &self.subject_id),
            ("licence", &self.licence),
            ("source", &self.source),
        ]
        .into_iter()
        .filter_map(|(field, column)| Some((field, column.as_deref()?)))
        .collect()
    }
}

/// Names under which the table of pairs is looked for.
const METADATA: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

/// The table of pairs of a folder.
pub(super) fn metadata_of(root: &Path, metadata: Option<&Path>) -> Option<PathBuf> {
    match metadata {
        Some(path) => Some(path.to_owned()),
        None => METADATA.iter().map(|name| root.join(name)).find(|path| path.is_file()),
    }
}

impl ImportConfig {
    /// Checks what a schema cannot say, and reads the benchmarks.
    pub(super) fn check(&self, context: &CompileContext<'_>) -> Result<Guard, Vec<ConfigIssue>> {
        let mut issues: Vec<ConfigIssue> = self.splits.issue().into_iter().collect();
        let guard = Guard::compile(&self.benchmarks, self.benchmark_distance, self.alpha, context, &mut issues);
        if self.layout == Layout::Separate && self.padding_px > 0 {
            issues.push(
                ConfigIssue::new("/padding_px", "only pictures side by side have padding")
                    .with_help("add `layout = \"side_by_side\"`, or leave it out"),
            );
        }
        let missing = |pointer: String, path: &Path| {
            ConfigIssue::new(pointer, format!("there is no {}", path.display()))
                .with_help("paths are relative to the manifest's folder")
        };
        match &self.source {
            ImportSource::Folder { path, metadata } => {
                let root = context.resolve(path);
                let metadata = metadata.as_ref().map(|path| context.resolve(path));
                if !root.is_dir() {
                    issues.push(missing("/source/path".to_owned(), &root));
                } else if let Some(path) = metadata.as_deref().filter(|path| !path.is_file()) {
                    issues.push(missing("/source/metadata".to_owned(), path));
                } else if metadata_of(&root, metadata.as_deref()).is_none() {
                    issues.push(
                        ConfigIssue::new("/source/path", format!("{} has no table of pairs", root.display()))
                            .with_help("put metadata.csv or metadata.jsonl there, or name it in `metadata`"),
                    );
                }
            }
            ImportSource::Parquet { files, columns } => {
                for (index, file) in files.iter().enumerate() {
                    let path = context.resolve(file);
                    if !path.is_file() {
                        issues.push(missing(format!("/source/files/{index}"), &path));
                    }
                }
                if columns.instruction.is_none() && columns.caption.is_none() {
                    issues.push(
                        ConfigIssue::new("/source/columns", "names neither an instruction nor a caption")
                            .with_help("add `instruction = \"…\"`, `caption = \"…\"` or both"),
                    );
                }
                if self.layout == Layout::SideBySide && columns.target.is_some() {
                    issues.push(
                        ConfigIssue::new("/source/columns/target", "the target is a half of the reference's picture")
                            .with_help("leave it out, or write `layout = \"separate\"`"),
                    );
                }
            }
        }
        if issues.is_empty() { Ok(guard) } else { Err(issues) }
    }
}
