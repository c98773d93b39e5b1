//! The subcommands, one file each.

mod audit;
mod chat;
mod convert;
mod demo;
mod doctor;
mod draw;
mod explain;
mod export;
mod generate;
mod init;
mod isolate;
mod kept_out;
mod measure;
mod models;
mod pictures;
mod plan;
mod profusion;
mod query;
mod recut;
mod report;
mod review;
mod run;
mod schema;
mod speak;
mod status;
mod trace;
mod train;
mod whole;

use crate::cli::Command;
use crate::failure::Failure;

/// Interrupted by a signal; the same command goes on.
const INTERRUPTED: u8 = 130;

/// Carries out a subcommand; gives the exit code.
pub(crate) async fn run(command: Command, threads: usize) -> Result<u8, Failure> {
    match command {
        Command::Demo(args) => demo::run(args, threads).await,
        Command::Init(args) => init::run(&args),
        Command::Plan(args) => plan::run(&args).await,
        Command::Run(args) => run::run(args, threads).await,
        Command::Status(args) => status::run(&args).await,
        Command::Audit(args) => audit::run(&args).await,
        Command::Report(args) => report::run(args).await,
        Command::Review(command) => review::run(command).await,
        Command::Query(args) => query::run(args).await,
        Command::Recut(args) => recut::run(args, threads).await,
        Command::Export(args) => export::run(args).await,
        Command::Generate(args) => blocking(move || generate::run(&args)).await,
        Command::Chat(args) => blocking(move || chat::run(&args)).await,
        Command::ProFusion(args) => blocking(move || profusion::run(&args)).await,
        Command::Convert(args) => blocking(move || convert::run(&args)).await,
        Command::Models(models) => models::run(models).await,
        Command::Train(train) => train::run(*train).await,
        Command::Doctor(args) => doctor::run(&args, threads).await,
        Command::Schema => schema::run(),
        Command::Measure(args) => measure::run(&args),
        Command::Isolate(args) => isolate::run(&args).await,
    }
}

/// Runs what computes for long on a thread of the engine's, where it holds up nobody.
async fn blocking(work: impl FnOnce() -> Result<u8, Failure> + Send + 'static) -> Result<u8, Failure> {
    let work = move || cafe_engine::op::on_cores(work);
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::Internal(error.to_string()))?
}
