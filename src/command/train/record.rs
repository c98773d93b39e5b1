//! What a training leaves beside its weights: its settings and the loss curve.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use cafe_engine::train::StepReport;
use serde_json::{Map, Value};

use crate::failure::Failure;

const SETTINGS: &str = "settings.json";
const HEADER: &str = "step,loss,gradient_norm,learning_rate";

/// Writes `settings` to `folder`, or compares them with those that are there: a training goes on with the same settings.
pub(super) fn keep_settings(folder: &Path, settings: &Map<String, Value>) -> Result<(), Failure> {
    let path = folder.join(SETTINGS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut text = serde_json::to_vec_pretty(settings).map_err(|error| Failure::Internal(error.to_string()))?;
            text.push(b'\n');
            let temporary = path.with_extension("json.tmp");
            let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
            return written.map_err(|error| output(&path, &error));
        }
        Err(error) => return Err(output(&path, &error)),
    };
    let before: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), "name another folder as --output"))?;
    let differences: Vec<String> = settings
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .map(|(key, value)| format!("{key} was {}, and is {value}", before.get(key).unwrap_or(&Value::Null)))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("{} has another training: {}", folder.display(), differences.join("; "));
    Err(Failure::usage(message, "go on with the settings it was begun with, or name another folder as --output"))
}

/// The loss curve, a CSV file with a row for each step.
pub(super) struct LossCurve {
    path: PathBuf,
    file: File,
}

impl LossCurve {
    /// Opens the curve in `folder`, cut back to the `n_steps` that are saved: the rest is made again.
    pub(super) fn open(folder: &Path, n_steps: u64) -> Result<Self, Failure> {
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
        written.map_err(|error| output(&path, &error))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|error| output(&path, &error))?;
        Ok(Self { path, file })
    }

    /// Adds a step.
    pub(super) fn add(&mut self, report: &StepReport) -> Result<(), Failure> {
        let StepReport { step, loss, gradient_norm, learning_rate } = report;
        writeln!(self.file, "{step},{loss},{gradient_norm},{learning_rate}").map_err(|error| output(&self.path, &error))
    }
}

pub(super) fn output(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()), "make room, or name another folder as --output")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn other_settings_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        keep_settings(folder.path(), &object(json!({"seed": 1, "steps": 5}))).unwrap();
        keep_settings(folder.path(), &object(json!({"seed": 1, "steps": 5}))).unwrap();
        let failure = keep_settings(folder.path(), &object(json!({"seed": 2, "steps": 5}))).unwrap_err();
        let Failure::Usage(message, _) = failure else { panic!("{failure:?}") };
        assert!(message.ends_with("has another training: seed was 1, and is 2"), "{message}");
    }

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
