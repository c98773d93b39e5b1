//! `export`: a release for others to read, in a folder of its own. Prints the folder.

mod pick;

use std::collections::BTreeSet;
use std::io::ErrorKind;

use cafe_pipeline::catalog::ReleaseRecord;
use cafe_pipeline::executor::Project;
use cafe_pipeline::frame;
use cafe_pipeline::stage::Cancel;
use cafe_stages::export::{Export, ExportError, Format, export};

use super::INTERRUPTED;
use crate::cli::{ExportArgs, ExportForm};
use crate::failure::Failure;
use crate::format::{count, out};
use crate::progress::transfer;
use crate::{project, signals};

use pick::{Publisher, Releases};

/// The most MiB of a tar, where nothing else is said.
const SHARD_MIB: u64 = 256;

pub(super) async fn run(args: ExportArgs) -> Result<u8, Failure> {
    let format = format(&args)?;
    let path = &args.manifest.manifest;
    let project = project::open(path).await?;
    project::must_have_run(&project.catalog, path).await?;
    let releases = Releases {
        all: project.catalog.releases().await?,
        publishers: publishers(&project),
        current: current(&project).await?,
    };
    project.catalog.close().await;
    let (number, release) = releases.pick(args.stage.as_deref(), args.release.as_deref())?;
    let (release, n_releases) = (release.clone(), releases.all.len());
    eprintln!("release {} ({number} of {n_releases}), {} rows", release.release_id, count(release.n_rows));

    let cancel = Cancel::default();
    signals::watch(cancel.clone())?;
    let (storage, output) = (project.storage.clone(), args.output.clone());
    let work = move || {
        let shown = transfer();
        shown.begin("exporting", &release.release_id);
        let on_bytes = |n_bytes, total| shown.at(n_bytes, Some(total));
        let what =
            Export { storage: storage.as_ref(), release: &release, format, cancel: &cancel, on_bytes: &on_bytes };
        export(&what, &output)
    };
    match tokio::task::spawn_blocking(work).await.map_err(|error| Failure::Internal(error.to_string()))? {
        Ok(()) => {}
        Err(ExportError::Stopped) => {
            eprintln!("stopped; nothing was left behind: the same command exports it from the beginning");
            return Ok(INTERRUPTED);
        }
        Err(error) => return Err(failure(error, &args)),
    }
    out(&format!("{}\n", args.output.display()))?;
    Ok(0)
}

fn format(args: &ExportArgs) -> Result<Format, Failure> {
    let mib = args.shard_mib.unwrap_or(SHARD_MIB);
    match args.format {
        ExportForm::WebDataset => Ok(Format::WebDataset { shard_bytes: mib << 20 }),
        _ if args.shard_mib.is_some() => {
            Err(Failure::usage("--shard-mib is about tars", "leave it out, or choose --format webdataset"))
        }
        ExportForm::Parquet => Ok(Format::Parquet),
        ExportForm::Hf => Ok(Format::Hf),
    }
}

/// The stages that publish, with the names of their releases.
fn publishers(project: &Project) -> Vec<Publisher> {
    let stages = project.plan.manifest.stages.iter().filter(|stage| stage.kind == "publish");
    stages
        .map(|stage| {
            let name = stage.config.get("release").and_then(|name| name.as_str()).unwrap_or(&stage.name);
            Publisher { stage: stage.name.clone(), release: name.to_owned() }
        })
        .collect()
}

/// The ids of the releases that the project stands at: those of the plan that was run last.
async fn current(project: &Project) -> Result<BTreeSet<String>, Failure> {
    let damaged = |path: &str, error: &dyn std::fmt::Display| {
        Failure::Transient(format!("{path} cannot be read: {error}; if it is damaged, `audit --verify` says so"))
    };
    let mut ids = BTreeSet::new();
    for file in project.catalog.files().await?.iter().filter(|file| file.table == "releases") {
        let opened = project.storage.open(&file.path).map_err(|error| damaged(&file.path, &error))?;
        let rows =
            frame::read(opened, Some(&["release_id".to_owned()])).map_err(|error| damaged(&file.path, &error))?;
        let found = rows.column("release_id").and_then(|column| column.str());
        ids.extend(found.map_err(|error| damaged(&file.path, &error))?.iter().flatten().map(ToOwned::to_owned));
    }
    Ok(ids)
}

fn failure(error: ExportError, args: &ExportArgs) -> Failure {
    let text = error.to_string();
    let audit = || format!("cafe-data audit --verify -m {}", args.manifest.manifest.display());
    match error {
        ExportError::Taken { .. } => Failure::usage(text, "name a folder that is new, or empty, with -o"),
        ExportError::Busy(_) | ExportError::Stopped => Failure::Transient(text),
        ExportError::Damaged { .. } => Failure::Plan(text, format!("{} tells all that is damaged", audit())),
        ExportError::Unfit { .. } => {
            Failure::Plan(text, "publish rows that are whole, and export that release".to_owned())
        }
        ExportError::Write { error, .. } => match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::ReadOnlyFilesystem => {
                Failure::usage(text, "choose another place with -o")
            }
            _ => Failure::Transient(text),
        },
    }
}

/// A release in words: number, id and rows.
fn named(number: usize, release: &ReleaseRecord) -> String {
    format!("{number} ({}, {} rows)", release.release_id, count(release.n_rows))
}
