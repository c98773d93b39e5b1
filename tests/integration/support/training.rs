//! Trainings that are killed.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// Waits until `n_points` resume points were seen in `resume`, and kills. Whether it was at work then.
pub(crate) fn killed_at_work(mut child: Child, resume: &Path, n_points: usize) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none() {
        if let Ok(entries) = std::fs::read_dir(resume) {
            seen.extend(entries.filter_map(|entry| Some(entry.ok()?.file_name())));
        }
        if seen.len() >= n_points {
            child.kill().unwrap();
            break;
        }
    }
    !child.wait().unwrap().success()
}
