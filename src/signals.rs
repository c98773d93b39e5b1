//! SIGINT and SIGTERM: the first asks for a stop, the second ends the process.

use cafe_pipeline::stage::Cancel;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Sets `cancel` at the first signal.
pub(crate) fn watch(cancel: Cancel) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for n_signals in 0_u32.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if n_signals > 0 {
                #[expect(clippy::disallowed_methods, reason = "the user asked twice; what is committed is safe")]
                std::process::exit(130);
            }
            cancel.cancel();
            eprintln!("stopping: running batches are finished first; once more to stop at once");
        }
    });
    Ok(())
}
