//! The loss curve of a training.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use cafe_engine::train::StepReport;

use super::error::TrainError;

const HEADER: &str = "step,loss,gradient_norm,learning_rate";

/// The loss curve, a CSV file with a row for each step.
pub(super) struct LossCurve {
    path: PathBuf,
    file: File,
}

impl LossCurve {
    /// Opens the curve in `folder`, cut back to the `n_steps` that are saved: the rest is made again.
    pub(super) fn open(folder: &Path, n_steps: u64) -> Result<Self, TrainError> {
        let path = folder.join("loss.csv");
        let mut kept = format!("{HEADER}\n");
        if let Ok(file) = File::open(&path) {
            for line in BufReader::new(file).lines().skip(1).map_while(Result::ok) {
                let step = line.split(',').next().and_then(|step| step.parse::<u64>().ok());
                if step.is_some_and(|step| (1..=n_steps).contains(&step)) && line.split(',').count() == 4 {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
        }
        let temporary = path.with_extension("csv.tmp");
        let written = std::fs::write(&temporary, kept).and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|error| TrainError::io(&path, error))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|error| TrainError::io(&path, error))?;
        Ok(Self { path, file })
    }

    /// Adds a step.
    pub(super) fn add(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let StepReport { step, loss, gradient_norm, learning_rate } = report;
        writeln!(self.file, "{step},{loss},{gradient_norm},{learning_rate}")
            .map_err(|error| TrainError::io(&self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_cut_back_to_what_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let report = |step: u64| StepReport { step, loss: 0.5, gradient_norm: 1.25, learning_rate: 1e-3 };
        let mut curve = LossCurve::open(folder.path(), 0).unwrap();
        for step in 1..=4 {
            curve.add(&report(step)).unwrap();
        }
        // A kill in the middle of a line.
        write!(curve.file, "5,0.").unwrap();
        let mut curve = LossCurve::open(folder.path(), 2).unwrap();
        curve.add(&report(3)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("loss.csv")).unwrap();
        assert_eq!(text, format!("{HEADER}\n1,0.5,1.25,0.001\n2,0.5,1.25,0.001\n3,0.5,1.25,0.001\n"));
    }
}
