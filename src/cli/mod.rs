//! The arguments.

mod export;
mod model;
mod models;
mod profusion;
mod review;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use export::{ExportArgs, ExportForm};
pub(crate) use model::{ChatArgs, ConvertArgs, DrawArgs, GenerateArgs, GuidanceForm, SamplerForm, SpeakArgs};
pub(crate) use models::{ModelsCommand, ModelsFetchArgs, ModelsListArgs, ModelsVerifyArgs};
pub(crate) use profusion::{Preset, ProFusionArgs};
pub(crate) use review::{ReviewCommand, ReviewExportArgs, ReviewImportArgs, ReviewStageArgs};
pub(crate) use train::{
    Decay, DistanceForm, Initialiser, TokenPlace, TrainArgs, TrainCommand, TrainDiffusionArgs, TrainMllmArgs,
    TrainPromptNetArgs, Trains,
};

/// Pictures of a stage that are shown where nothing else is said.
pub(crate) const PREVIEWS: u16 = 12;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 internal error; 2 usage; 3 manifest or plan invalid, or a model cannot be had; 4 finished with \
quarantined or failed items; 5 audit does not balance; 6 budget spent; 75 passing fault, run it again; 130 interrupted.";

/// Builds training data for tuning-free image customization: resumable, sharded, audited.
#[derive(Debug, Parser)]
#[command(name = "cafe-data", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    /// Threads for all work together; default: one per core.
    #[arg(long, global = true, env = "CAFE_THREADS", value_name = "N", hide_env_values = true)]
    pub(crate) threads: Option<usize>,
    /// Tells more of what is done (-v), or all of it (-vv).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The quickstart, whole, on bundled pictures: collect, instruct, measure, filter, publish, audit.
    Demo(DemoArgs),
    /// Makes a project folder with a manifest to edit.
    Init(InitArgs),
    /// Shows what would run: shards, rows, estimated time and disk.
    Plan(PlanArgs),
    /// Carries out the manifest; the same command resumes after any interruption.
    #[command(args_conflicts_with_subcommands = true)]
    Run(RunCommand),
    /// Shows where the project stands.
    Status(StatusArgs),
    /// Recounts every row: reconciliation, yields, costs. Exit code 5 when rows do not balance.
    Audit(AuditArgs),
    /// One page that shows where the project stands: funnel, scores, yields, samples, costs. Needs nothing else to be opened.
    Report(ReportArgs),
    /// What people say of candidates: the list of what waits for them, and filled-in lists.
    #[command(subcommand)]
    Review(ReviewCommand),
    /// SQL over the tables of the project, read-only.
    Query(QueryArgs),
    /// A new release from stored scores with other thresholds; nothing upstream is made again.
    Recut(RecutArgs),
    /// A release for others to read, in a folder of its own: Parquet, WebDataset, or Hugging Face's layout.
    Export(ExportArgs),
    /// Makes an image of the subject of another: the CAFE model with an image, or with a prompt, as its second condition.
    Generate(Box<GenerateArgs>),
    /// Talks about an image with the assistant, which draws what it understands, over several rounds.
    Chat(Box<ChatArgs>),
    /// Makes an image of the subject of another by ProFusion, which tunes its models to that picture first.
    #[command(name = "profusion")]
    ProFusion(Box<ProFusionArgs>),
    /// Makes a language model in Hugging Face layout of a GGUF file, once: weights in half precision, tokenizer, config.
    Convert(ConvertArgs),
    /// Trains a model of a family.
    #[command(subcommand)]
    Train(Box<TrainCommand>),
    /// Models by name: what there is, how it gets to this machine, and whether it is right.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Shows what this machine has, what is missing, and how to get it.
    Doctor(DoctorArgs),
    /// Prints the manifest's JSON schema, for editors.
    Schema,
    /// Image statistics for a Parquet file: a program for `command` stages.
    #[command(hide = true)]
    Measure(MeasureArgs),
    /// Works on rows of which a process died.
    #[command(hide = true)]
    Isolate(IsolateArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ManifestArg {
    /// The manifest.
    #[arg(short, long, value_name = "FILE", default_value = "cafe.toml")]
    pub(crate) manifest: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where the project is made; going on with one that is there already.
    #[arg(long, value_name = "DIR", default_value = "cafe-demo")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder.
    #[arg(required_unless_present = "list")]
    pub(crate) dir: Option<PathBuf>,
    /// The manifest to begin with.
    #[arg(long, value_name = "NAME", default_value = "folder")]
    pub(crate) from: String,
    /// Lists the manifests to begin with.
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// As JSON.
    #[arg(long, conflicts_with_all = ["dot"])]
    pub(crate) json: bool,
    /// The graph of stages for Graphviz.
    #[arg(long)]
    pub(crate) dot: bool,
    /// What changed since the last run, field by field, and what that makes stale.
    #[arg(long, conflicts_with = "dot")]
    pub(crate) explain: bool,
    /// Keeps the shards that the last run made of STAGE although its settings changed.
    #[arg(long, value_name = "STAGE", requires = "reason")]
    pub(crate) adopt: Option<String>,
    /// Why; recorded with the adoption.
    #[arg(long, value_name = "TEXT", requires = "adopt")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunCommand {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(subcommand)]
    pub(crate) only: Option<RunOnly>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunOnly {
    /// One stage, or a part of it.
    Stage(RunStageArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunStageArgs {
    /// The stage's name in the manifest.
    pub(crate) name: String,
    /// Part I of N (from 0): the shards whose index leaves I when divided by N.
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    pub(crate) shard: Option<(u32, u32)>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// Work items at once in this process; default: as many as threads.
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// A preview: so many rows of each source, through all stages. Costly rows are reused by the full run.
    #[arg(long, value_name = "ROWS")]
    pub(crate) sample: Option<u64>,
    /// How progress is shown, on stderr.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// A page in `previews/` of the storage folder shows so many of the newest pictures of each stage that generates, while it does;
    /// 0 shows none.
    #[arg(long, value_name = "N", default_value_t = PREVIEWS, value_parser = clap::value_parser!(u16).range(..=200))]
    pub(crate) previews: u16,
    /// Trusts the programs that the manifest's `command` stages run; remembered for these programs.
    #[arg(long)]
    pub(crate) allow_commands: bool,
    /// After so many seconds without a sign of life, a process's work is given to others.
    #[arg(long, value_name = "SECS", default_value_t = 30.0, value_parser = parse_lease)]
    pub(crate) lease: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, else lines.
    Auto,
    /// Bars.
    Bars,
    /// Lines.
    Plain,
    /// JSON lines.
    Json,
    /// Nothing but the outcome.
    None,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Again every second, until interrupted.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Reads every file and compares digests and ids; what is damaged is made again by the next run.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Shows instead where one row comes from and what it cost: the id of a quadruplet, candidate, pair, reference or w.
    #[arg(long, value_name = "ID", conflicts_with = "verify")]
    pub(crate) trace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// Where it goes, `-` for stdout; default: `report.html` beside the manifest, JSON to stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The figures as JSON, without pictures.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// The query; `SHOW TABLES` lists what there is.
    pub(crate) sql: String,
    /// How the rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// Comma-separated values, all rows.
    Csv,
    /// An array of objects, all rows.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RecutArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Least score, for example `--min sharpness=12.5`; may be given more than once.
    #[arg(long, value_name = "COLUMN=F", value_parser = parse_threshold)]
    pub(crate) min: Vec<(String, f64)>,
    /// Greatest score.
    #[arg(long, value_name = "COLUMN=F", value_parser = parse_threshold)]
    pub(crate) max: Vec<(String, f64)>,
    /// Least CLIP score: the same as `--min clip=F`.
    #[arg(long, value_name = "F")]
    pub(crate) clip_min: Option<f64>,
    /// Least DINO score: the same as `--min dino=F`.
    #[arg(long, value_name = "F")]
    pub(crate) dino_min: Option<f64>,
    /// Only shows what it would make, and what that costs.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// A project to look at as well; with `--scorers`, whose `[models.NAME]` tables are known, too.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Computes instead the row "Real Images" of DreamBench with the encoders that filter, and compares it with the
    /// published one: the folder of google/dreambooth, or `dataset` in it. Exit code 4 when it is another.
    #[arg(long, value_name = "DREAMBENCH_DIR")]
    pub(crate) scorers: Option<PathBuf>,
    /// The family whose `clip_filter` and `dino_filter` are meant; what it has not is looked for among fetched models.
    #[arg(long, value_name = "DIR|NAME", requires = "scorers")]
    pub(crate) family: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Parquet with a column `image`.
    #[arg(required_unless_present = "serve")]
    pub(crate) input: Option<PathBuf>,
    /// Parquet to write.
    #[arg(required_unless_present = "serve")]
    pub(crate) output: Option<PathBuf>,
    /// Requests as JSON lines on stdin.
    #[arg(long)]
    pub(crate) serve: bool,
    /// The column that names a row.
    #[arg(long)]
    pub(crate) id_column: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IsolateArgs {
    #[command(flatten)]
    pub(crate) manifest: ManifestArg,
    /// The request.
    pub(crate) request: PathBuf,
}

fn parse_part(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(part, n)| Some((part.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((part, n)) if part < n => Ok((part, n)),
        Some((_, 0)) => Err("there is no part of none".to_owned()),
        Some((_, n)) => Err(format!("parts of {n} are 0 to {}", n - 1)),
        None => Err("write I/N, for example 0/4 for the first of four".to_owned()),
    }
}

fn parse_lease(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(secs) if (0.1..=86_400.0).contains(&secs) => Ok(secs),
        _ => Err("a number of seconds from 0.1 to 86400 is expected".to_owned()),
    }
}

fn parse_threshold(text: &str) -> Result<(String, f64), String> {
    let threshold =
        text.split_once('=').and_then(|(column, value)| Some((column.trim().to_owned(), value.parse().ok()?)));
    threshold
        .filter(|(column, value): &(String, f64)| !column.is_empty() && value.is_finite())
        .ok_or_else(|| "write COLUMN=NUMBER, for example sharpness=12.5".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parts_are_checked() {
        assert_eq!(parse_part("3/4"), Ok((3, 4)));
        for wrong in ["4/4", "1/0", "x", "-1/2", "1/2/3"] {
            assert!(parse_part(wrong).is_err(), "{wrong}");
        }
    }
}
