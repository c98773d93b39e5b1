//! `train`: models of a family, from pairs.

mod diffusion;
mod encode;
mod record;

use crate::cli::TrainCommand;
use crate::failure::Failure;

pub(super) fn run(command: TrainCommand) -> Result<u8, Failure> {
    match command {
        TrainCommand::Diffusion(args) => diffusion::run(&args),
    }
}
