//! A release in, weights out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cafe_engine::cafe::{Family, Role};
use cafe_engine::weights::Metadata;
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::{Cost, WholeOutcome, WholeWork, WorkContext, WorkError};
use polars::prelude::*;
use serde_json::Value;

use super::config::TrainConfig;
use super::diffusion::Diffusion;
use super::error::TrainError;
use super::release::pairs;
use super::run_loop::Watch;
use crate::models;
use crate::place::Placer;
use crate::tables;

/// Where a training keeps what it needs to go on, in the project's folder: it can be thrown away when the training is done.
const KEPT: &str = "cache/train";
/// Where weights are placed.
const WEIGHTS: &str = "weights";

/// The work of a `train` node.
pub(super) struct TrainWork {
    pub(super) config: TrainConfig,
    /// All that decides the weights, but for the release and the seed.
    pub(super) settings: Value,
    pub(super) family: PathBuf,
}

impl WholeWork for TrainWork {
    fn run(&self, context: &WorkContext) -> Result<WholeOutcome, WorkError> {
        let began = Instant::now();
        let releases = context.table(tables::RELEASES, Some(&["path", "digest"]))?;
        let text = |name: &str| -> Result<String, WorkError> {
            let value = releases.column(name)?.str()?.get(0);
            value.map(str::to_owned).ok_or_else(|| WorkError::Systemic(format!("the release has no `{name}`")))
        };
        let (path, digest) = (text("path")?, text("digest")?);
        let pairs = pairs(context.storage.as_ref(), &path, &digest, &self.config.split)?;
        let family = Family::open(&self.family).map_err(TrainError::from)?;
        let seed = context.seed.child("train");
        let kept = Hasher::new("training/v1").json("settings", &self.settings).text("release", &digest);
        let folder = context.storage.root().join(KEPT).join(kept.number("seed", seed.0).row_id());
        std::fs::create_dir_all(&folder).map_err(|error| WorkError::io(folder.display(), &error))?;

        let plan = self.config.plan(seed.0);
        let told = |what: &str, n_done: usize, n_steps: usize| {
            if n_done.is_multiple_of(100) || n_done == n_steps {
                tracing::info!("{}: {what}, {n_done} of {n_steps}", context.node);
            }
        };
        let watch = Watch { cancel: &context.cancel, told: &told };
        let training = Diffusion { family: &family, pairs: &pairs, plan: &plan, folder: &folder, watch };
        let (parts, size_px) = training.begin()?;
        let facts = Metadata::from([
            ("writer".to_owned(), format!("cafe-data {}", env!("CARGO_PKG_VERSION"))),
            ("seed".to_owned(), seed.0.to_string()),
            ("release".to_owned(), digest),
        ]);
        let Some(made) = training.run(parts, size_px, &facts)? else { return Err(WorkError::Cancelled) };
        let (digest, path) = place(context, &made)?;

        let row = DataFrame::new(
            1,
            vec![
                Column::new("weights_digest".into(), [digest]),
                Column::new("role".into(), [Role::CafeUNet.folder()]),
                Column::new("path".into(), [path]),
                Column::new("n_steps".into(), [u64::from(self.config.steps)]),
                Column::new("n_pairs".into(), [pairs.n_rows() as u64]),
            ],
        )?;
        Ok(WholeOutcome {
            tables: BTreeMap::from([(tables::WEIGHTS.to_owned(), row)]),
            n_in: releases.height() as u64,
            effects: Vec::new(),
            cost: Cost {
                device_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                n_tries: 1,
                ..Cost::default()
            },
        })
    }

    fn expected_rows(&self, _: u64) -> u64 {
        1
    }
}

/// Places the model in `made` under its digest; that digest and the folder, relative to the storage root.
fn place(context: &WorkContext, made: &Path) -> Result<(String, String), WorkError> {
    let digest = models::digest(made, "").map_err(|issue| WorkError::Transient(issue.message))?.to_hex();
    let path = format!("{WEIGHTS}/{}", digest.get(..16).unwrap_or(&digest));
    let placer = Placer::new(context.storage.as_ref(), path.clone(), &context.scratch);
    let failed = |error: std::io::Error| WorkError::io(made.display(), &error);
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(made).map_err(failed)? {
        names.push(entry.map_err(failed)?.path());
    }
    names.sort();
    for file in names {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        placer.place(name, &std::fs::read(&file).map_err(failed)?)?;
    }
    placer.clean()?;
    Ok((digest, path))
}
