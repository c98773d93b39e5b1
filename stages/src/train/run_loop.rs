//! What every training does, whatever is trained: step after step, saved now and then, stopped by a signal.

use std::path::Path;

use cafe_engine::train::{EncodedTable, Training};
use cafe_pipeline::stage::Cancel;

use super::curve::LossCurve;
use super::error::TrainError;

/// Who stops a training, and who is told how far it is.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Set when it is to stop.
    pub cancel: &'a Cancel,
    /// Told what is done now, how many of its steps are done, and how many there are.
    pub told: &'a dyn Fn(&str, usize, usize),
}

/// Trains on `table` until all steps are done: true. False when a stop was asked for; what is needed to go on is saved in `folder`, as
/// it is every `save_every` steps, and the loss curve with it.
///
/// # Errors
/// When the loss is not a number, a row is damaged, or nothing can be written.
pub fn train(
    training: &mut impl Training,
    table: &EncodedTable,
    (folder, save_every): (&Path, u32),
    watch: Watch<'_>,
) -> Result<bool, TrainError> {
    let resume = folder.join("resume");
    training.trainer_mut().restore(&resume)?;
    let n_steps = usize::try_from(training.trainer().n_steps()).unwrap_or(usize::MAX);
    let mut curve = LossCurve::open(folder, training.trainer().n_done())?;
    while !training.trainer().is_done() {
        if watch.cancel.is_cancelled() {
            training.trainer().save(&resume)?;
            return Ok(false);
        }
        let report = training.step(table)?;
        curve.add(&report)?;
        let n_done = usize::try_from(report.step).unwrap_or(usize::MAX);
        (watch.told)(&format!("train, loss {:.4}", report.loss), n_done, n_steps);
        if report.step % u64::from(save_every) == 0 || training.trainer().is_done() {
            training.trainer().save(&resume)?;
        }
    }
    Ok(true)
}
