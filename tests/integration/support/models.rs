//! The tiny family that the engine's goldens were made with, and trainings that are killed.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::program::Project;

/// Where the family is.
pub(crate) fn family() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/goldens/family")
}

/// A project whose folder has `x.png`, `w.png` and the family as `family`; no manifest is needed.
pub(crate) fn project() -> Project {
    let project = Project::new("");
    for name in ["x.png", "w.png"] {
        project.write(name, &std::fs::read(family().join(name)).unwrap());
    }
    std::os::unix::fs::symlink(family(), project.path("family")).unwrap();
    project
}

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
