//! `models`: what there is, how it gets here, and whether it is right.

mod fetch;
mod list;
mod verify;

use cafe_pipeline::stage::Cancel;

use super::{INTERRUPTED, blocking};
use crate::cli::ModelsCommand;
use crate::failure::Failure;
use crate::signals;

pub(super) async fn run(command: ModelsCommand) -> Result<u8, Failure> {
    match command {
        ModelsCommand::List(args) => list::run(&args),
        ModelsCommand::Fetch(args) => {
            let cancel = Cancel::default();
            signals::watch(cancel.clone())?;
            // It waits for the network nearly all of the time: not on a thread of the engine's, which has no runtime.
            let fetched = tokio::task::spawn_blocking(move || fetch::run(&args, &cancel)).await;
            fetched.map_err(|error| Failure::Internal(error.to_string()))?
        }
        ModelsCommand::Verify(args) => {
            let cancel = Cancel::default();
            signals::watch(cancel.clone())?;
            blocking(move || verify::run(&args, &cancel)).await
        }
    }
}
