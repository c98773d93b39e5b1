//! `models fetch`: models get to this machine. Prints their folders.

use cafe_pipeline::stage::Cancel;

use super::INTERRUPTED;
use crate::cli::ModelsFetchArgs;
use crate::failure::Failure;
use crate::format::out;
use crate::models::cache::Cache;
use crate::models::fetch::{Fetched, Fetching, Stop, pins};
use crate::models::hub::HubSettings;
use crate::models::{Model, Registry};

pub(super) fn run(args: &ModelsFetchArgs, cancel: &Cancel) -> Result<u8, Failure> {
    let registry = Registry::open(args.registry.manifest.as_deref())?;
    let models: Vec<&Model> = if args.names.is_empty() {
        registry.of_manifest().collect()
    } else {
        args.names.iter().map(|name| registry.get(name)).collect::<Result<_, _>>()?
    };
    if models.is_empty() {
        let message = "no model is named, and there is no manifest that names any";
        return Err(Failure::usage(message, "name some: `cafe-data models list` knows them"));
    }
    let cache = Cache::open(args.registry.cache.as_deref())?;
    let fetching = Fetching {
        cache: &cache,
        from: args.from.as_deref(),
        is_offline: args.offline,
        allow_unpinned: args.allow_unpinned,
        hub: HubSettings::from_environment(),
        cancel,
    };
    let mut failed = None;
    for model in models {
        match fetching.fetch(model) {
            Ok(fetched) => say(model, &fetched)?,
            Err(Stop::Stopped) => {
                eprintln!("stopped while {} was fetched; the same command goes on", model.name);
                return Ok(INTERRUPTED);
            }
            // The others may be had.
            Err(Stop::Failed(failure)) => {
                if let Some(before) = failed.replace(failure) {
                    before.report();
                }
            }
        }
    }
    failed.map_or(Ok(0), Err)
}

fn say(model: &Model, fetched: &Fetched) -> Result<(), Failure> {
    if let Some(record) = &fetched.record {
        eprintln!("{}: fetched from {}", model.name, record.source);
        if model.unpinned().next().is_some() {
            eprint!("write into [models.{}], so that nothing else is taken from now on:\n{}", model.name, pins(record));
        }
    }
    out(&format!("{}\n", fetched.folder.display()))
}
