//! The arguments of `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ManifestArg;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// The layout of the folder.
    #[arg(long, value_enum)]
    pub(crate) format: ExportForm,
    /// The folder, which is made; an empty one may be there.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The `publish` stage whose release it is, where there are several.
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// The release: its number, from 1 in the order in which they were made, or its id; default: the one that the project
    /// stands at.
    #[arg(long, value_name = "N|ID")]
    pub(crate) release: Option<String>,
    /// The most MiB of a tar; a sample that is larger has a tar of its own. With `--format webdataset`; default: 256.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) shard_mib: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// The release's files as they are, with their digests.
    Parquet,
    /// Tars of samples: each row's pictures, and all else as JSON.
    #[value(name = "webdataset")]
    WebDataset,
    /// A folder that Hugging Face's `datasets` opens.
    Hf,
}
