//! `doctor`: what this machine has, what is missing, and how to get it.

mod scorers;

use std::path::Path;
use std::process::Command;

use cafe_pipeline::storage::{LocalStorage, Storage};
use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::failure::Failure;
use crate::format::{Align, bytes, json, out, table};
use crate::project;

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    is_fine: bool,
    found: String,
    /// What to do where it is not fine.
    advice: String,
}

impl Finding {
    fn fine(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, is_fine: true, found: found.into(), advice: String::new() }
    }

    fn missing(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, is_fine: false, found: found.into(), advice: advice.into() }
    }
}

pub(super) async fn run(args: &DoctorArgs, threads: usize) -> Result<u8, Failure> {
    if let Some(folder) = args.scorers.clone() {
        let args = args.clone();
        // Not as one of rayon's threads, as other work on models: this one waits for pictures that those decode.
        let work = tokio::task::spawn_blocking(move || scorers::run(&folder, &args));
        return work.await.map_err(|error| Failure::Internal(error.to_string()))?;
    }
    let mut findings = vec![
        Finding::fine("cafe-data", env!("CARGO_PKG_VERSION")),
        Finding::fine("threads", threads.to_string()),
        memory(),
    ];
    let folder = match &args.manifest {
        Some(path) => {
            let project = project::open(path).await;
            findings.push(match &project {
                Ok(project) => Finding::fine("project", format!("{} stages", project.plan.manifest.stages.len())),
                Err(_) => {
                    Finding::missing("project", format!("{} cannot be opened", path.display()), "see the error below")
                }
            });
            if let Err(failure) = project {
                failure.report();
            }
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
        }
        None => Path::new(".").to_owned(),
    };
    findings.push(catalog_here(&folder).await);
    findings.push(disk(&folder));
    findings.push(program("python3", &["--version"], "only for `command` stages in Python: install python3"));
    findings.push(program(
        "python3",
        &["-c", "import pyarrow; print('pyarrow', pyarrow.__version__)"],
        "only for `command` stages in Python: pip install pyarrow",
    ));
    findings.push(program(
        "nvidia-smi",
        &["--query-gpu=name,memory.total", "--format=csv,noheader"],
        "only for `command` stages on a GPU: nothing of this version needs one",
    ));
    if args.json {
        json(&findings)?;
        return Ok(0);
    }
    let headers = [("", Align::Left), ("", Align::Left), ("", Align::Left), ("", Align::Left)];
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let mark = if finding.is_fine { "ok" } else { "-" };
            vec![mark.to_owned(), finding.what.to_owned(), finding.found.clone(), finding.advice.clone()]
        })
        .collect();
    out(&table(&headers, &rows))?;
    Ok(0)
}

fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| bytes(kilobytes * 1024))
    };
    match (value("MemAvailable:"), value("MemTotal:")) {
        (Some(free), Some(total)) => Finding::fine("memory", format!("{free} of {total} available")),
        _ => Finding::missing("memory", "unknown", "/proc/meminfo cannot be read"),
    }
}

/// Whether a catalog could live in `folder`: tried, in a folder of its own.
async fn catalog_here(folder: &Path) -> Finding {
    let probe = folder.join(format!(".cafe-doctor-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&probe) {
        return Finding::missing("catalog", error.to_string(), "choose a folder that can be written to");
    }
    let opened = cafe_catalog::open("sqlite:probe.db", &probe).await;
    let finding = match opened {
        Ok(catalog) => {
            catalog.close().await;
            Finding::fine("catalog", format!("SQLite can be used in {}", folder.display()))
        }
        Err(error) => match Failure::from(error) {
            Failure::Plan(message, help) => Finding::missing("catalog", message, help),
            _ => Finding::missing("catalog", "cannot be opened", "see -v"),
        },
    };
    let _ = std::fs::remove_dir_all(&probe);
    finding
}

fn disk(folder: &Path) -> Finding {
    match LocalStorage::create(folder).and_then(|storage| storage.free_bytes()) {
        Ok(free) => Finding::fine("disk", format!("{} free", bytes(free))),
        Err(error) => Finding::missing("disk", error.to_string(), "choose a folder that can be written to"),
    }
}

fn program(name: &'static str, args: &[&str], advice: &str) -> Finding {
    match Command::new(name).args(args).output() {
        Ok(output) if output.status.success() => {
            Finding::fine(name, String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>().join("; "))
        }
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Finding::missing(name, stderr.lines().last().unwrap_or("failed").to_owned(), advice)
        }
        Err(_) => Finding::missing(name, "not found", advice),
    }
}
