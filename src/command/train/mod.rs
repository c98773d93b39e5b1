//! `train`: models of a family, from pairs.

mod diffusion;
mod mllm;
mod promptnet;
mod record;
mod run_loop;

use cafe_pipeline::stage::Cancel;

use super::{INTERRUPTED, blocking};
use crate::cli::TrainCommand;
use crate::failure::Failure;
use crate::signals;

pub(super) async fn run(command: TrainCommand) -> Result<u8, Failure> {
    let cancel = Cancel::default();
    signals::watch(cancel.clone())?;
    match command {
        TrainCommand::Diffusion(args) => blocking(move || diffusion::run(&args, &cancel)).await,
        TrainCommand::PromptNet(args) => blocking(move || promptnet::run(&args, &cancel)).await,
        TrainCommand::Mllm(args) => blocking(move || mllm::run(&args, &cancel)).await,
    }
}
