//! `train`: models of a family, from pairs.

mod diffusion;
mod encode;
mod initial;
mod record;

use cafe_pipeline::stage::Cancel;

use super::blocking;
use crate::cli::TrainCommand;
use crate::failure::Failure;
use crate::signals;

pub(super) async fn run(command: TrainCommand) -> Result<u8, Failure> {
    let cancel = Cancel::default();
    signals::watch(cancel.clone())?;
    match command {
        TrainCommand::Diffusion(args) => blocking(move || diffusion::run(&args, &cancel)).await,
    }
}
