//! The command line: one file per subcommand. stdout carries data only; everything else goes to stderr.

mod cli;
mod command;
mod embedded;
mod failure;
mod format;
mod kinds;
mod models;
mod progress;
mod project;
mod signals;
mod trust;

use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let threads = cli.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)).max(1);
    share_threads(threads);
    progress::start_logging(cli.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // These only wait: work is done on threads of its own, as many as `--workers` says.
        .worker_threads(threads.min(2))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::Internal(format!("cannot start threads: {error}")).report(),
    };
    let code = match runtime.block_on(command::run(cli.command, threads)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    };
    // A thread in which a batch hangs would never end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// One budget for all threads: polars, and rayon below the models, take their share from the environment when they are
/// first used.
fn share_threads(threads: usize) {
    // candle's own pool waits by spinning, beside rayon's threads: sums of tensors are not worth that.
    for (name, threads) in [("POLARS_MAX_THREADS", threads), ("RAYON_NUM_THREADS", threads), ("CANDLE_NUM_THREADS", 1)]
    {
        if std::env::var_os(name).is_none() {
            #[expect(unsafe_code, reason = "nothing else runs yet: no other thread can read the environment")]
            unsafe {
                std::env::set_var(name, threads.to_string());
            }
        }
    }
}
