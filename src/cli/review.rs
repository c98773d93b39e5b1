//! The arguments of `review`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ManifestArg;

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// Writes the candidates that wait for a person: a CSV file to fill in, and their pictures.
    Export(ReviewExportArgs),
    /// Takes a filled-in CSV file; rows without a verdict are left out.
    Import(ReviewImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReviewExportArgs {
    #[command(flatten)]
    pub(crate) stage: ReviewStageArgs,
    /// The folder to write to.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReviewImportArgs {
    #[command(flatten)]
    pub(crate) stage: ReviewStageArgs,
    /// The filled-in file.
    #[arg(value_name = "CSV")]
    pub(crate) csv: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReviewStageArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// The stage; needed where the manifest has several of kind `review`.
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
}
