//! Resume points: all that training needs to go on as if it had never stopped.
//!
//! A folder holds resume points, each in a folder of its own that is named after its step:
//!
//! ```text
//! resume/step-00000100/state.json              step, seed, learning rate, digest of the config, version of this format
//!                      weights.safetensors     the variables
//!                      optimizer.safetensors   moments, steps per variable, hyper-parameters
//!                      ema.safetensors         averages of the variables, if they are kept
//! ```
//!
//! A point is written to a temporary folder, flushed, and renamed: whenever the machine stops, there is the last point or
//! the new one, whole. The older ones go afterwards.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::ema::same_tensors;
use super::{AdamW, Ema, LearningRate, tensors_file};
use crate::weights::{self, Metadata};
use crate::{EngineError, Result};

const FORMAT: &str = "cafe-data resume point";
const VERSION: u32 = 1;
const PREFIX: &str = "step-";
const TEMPORARY: &str = ".tmp-resume-point";

/// How far training is, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    pub step: u64,
    /// The seed of all noise: with [`crate::noise::Noise`], seed and step say where every sequence goes on.
    pub seed: u64,
    /// The learning rate of every step, for who reads the file.
    pub learning_rate: LearningRate,
    /// A digest of everything that must not change when training goes on: model, data, hyper-parameters.
    pub config_digest: String,
}

/// What `state.json` holds.
#[derive(Serialize, Deserialize)]
struct State {
    format: String,
    version: u32,
    /// Steps of the average, if one is kept.
    ema_steps: Option<u64>,
    #[serde(flatten)]
    progress: Progress,
}

/// A resume point that was read, whole.
pub struct ResumePoint {
    folder: PathBuf,
    progress: Progress,
    weights: BTreeMap<String, Tensor>,
    optimizer: BTreeMap<String, Tensor>,
    ema: Option<(BTreeMap<String, Tensor>, u64)>,
}

impl ResumePoint {
    /// Writes a resume point into `folder`, which is made if need be, then takes away the older ones. Returns where it is.
    ///
    /// # Errors
    /// When `folder` holds a point of a later step, or the disk refuses: then the last point is as it was.
    pub fn save(folder: &Path, progress: &Progress, optimizer: &AdamW, ema: Option<&Ema>) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::io(folder, error))?;
        let older = points(folder)?;
        if let Some((place, path)) = older.last().filter(|(place, _)| place.step > progress.step) {
            return Err(EngineError::argument(format!(
                "{}: is of step {}, and this is step {}: resume from it, or save to another folder",
                path.display(),
                place.step,
                progress.step
            )));
        }
        let generation =
            older.last().filter(|(place, _)| place.step == progress.step).map_or(1, |(place, _)| place.generation + 1);
        let path = folder.join(Place { step: progress.step, generation }.name());
        let temporary = folder.join(TEMPORARY);
        remove(&temporary)?;
        std::fs::create_dir(&temporary).map_err(|error| EngineError::io(&temporary, error))?;
        write(&temporary, progress, optimizer, ema)?;
        sync_folder(&temporary)?;
        std::fs::rename(&temporary, &path).map_err(|error| EngineError::io(&path, error))?;
        sync_folder(folder)?;
        for (_, path) in older {
            remove(&path)?;
        }
        Ok(path)
    }

    /// Reads the last resume point in `folder`, if there is one.
    ///
    /// # Errors
    /// When it cannot be read: see [`Self::read`].
    pub fn last(folder: &Path) -> Result<Option<Self>> {
        if !folder.try_exists().map_err(|error| EngineError::io(folder, error))? {
            return Ok(None);
        }
        points(folder)?.last().map(|(_, path)| Self::read(path)).transpose()
    }

    /// Reads the resume point that is the folder `path`.
    ///
    /// # Errors
    /// When a file is missing, cut short, or not of a resume point that this version can read: the error names it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.join("state.json");
        let text = std::fs::read(&file).map_err(|error| EngineError::io(&file, error))?;
        let State { ema_steps, progress, .. } = parse(&text).map_err(|message| EngineError::config(&file, message))?;
        Ok(Self {
            folder: path.to_owned(),
            weights: tensors_file::read(&path.join("weights.safetensors"))?,
            optimizer: tensors_file::read(&path.join("optimizer.safetensors"))?,
            ema: ema_steps
                .map(|steps| Ok::<_, EngineError>((tensors_file::read(&path.join("ema.safetensors"))?, steps)))
                .transpose()?,
            progress,
        })
    }

    /// How far training was, and of what.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Puts everything back, bit for bit: the optimizer's variables, its moments, and the average.
    ///
    /// # Errors
    /// When the point is of another config than that of `config_digest`, of other variables, or keeps an average where none
    /// is wanted or the other way round: then nothing has changed. Or of the tensors.
    pub fn restore(self, config_digest: &str, optimizer: &mut AdamW, ema: Option<&mut Ema>) -> Result<Progress> {
        let blame = |message: String| EngineError::config(&self.folder, message);
        if self.progress.config_digest != config_digest {
            return Err(blame(format!(
                "was made by a training of the config {}, and this is {config_digest}: change the config back, or begin anew \
                 in another folder",
                self.progress.config_digest
            )));
        }
        let blame_for = |error: EngineError| blame(error.to_string());
        same_tensors("weights.safetensors", &self.weights, optimizer.variables()).map_err(blame_for)?;
        let moments = optimizer.prepare(self.optimizer).map_err(blame_for)?;
        let average = match (&ema, self.ema) {
            (Some(ema), Some((averages, steps))) => Some((ema.prepare(averages).map_err(blame_for)?, steps)),
            (None, None) => None,
            (wanted, _) => {
                let [has, wants] = if wanted.is_some() { ["no", "one"] } else { ["an", "none"] };
                return Err(blame(format!("has {has} average of the weights, and {wants} is wanted")));
            }
        };
        for (name, variable) in optimizer.variables() {
            if let Some(weights) = self.weights.get(name) {
                variable.set(&weights.to_device(variable.device())?)?;
            }
        }
        optimizer.apply(moments);
        if let (Some(ema), Some((averages, steps))) = (ema, average) {
            ema.apply(averages, steps);
        }
        Ok(self.progress)
    }
}

/// Where a resume point lies: the same step may be saved again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    step: u64,
    generation: u64,
}

impl Place {
    fn name(self) -> String {
        match self {
            Self { step, generation: 1 } => format!("{PREFIX}{step:08}"),
            Self { step, generation } => format!("{PREFIX}{step:08}.{generation}"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let numbers = name.strip_prefix(PREFIX)?;
        let (step, generation) = numbers.split_once('.').unwrap_or((numbers, "1"));
        Some(Self { step: step.parse().ok()?, generation: generation.parse().ok()? })
    }
}

/// The resume points in `folder`, oldest first.
fn points(folder: &Path) -> Result<Vec<(Place, PathBuf)>> {
    let mut points = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| EngineError::io(folder, error))? {
        let entry = entry.map_err(|error| EngineError::io(folder, error))?;
        if let Some(place) = entry.file_name().to_str().and_then(Place::parse) {
            points.push((place, entry.path()));
        }
    }
    points.sort();
    Ok(points)
}

fn write(folder: &Path, progress: &Progress, optimizer: &AdamW, ema: Option<&Ema>) -> Result<()> {
    let none = Metadata::default();
    let variables = |variables: &BTreeMap<String, Var>| -> BTreeMap<String, Tensor> {
        variables.iter().map(|(name, variable)| (name.clone(), variable.as_detached_tensor())).collect()
    };
    weights::save(&variables(optimizer.variables()), &none, &folder.join("weights.safetensors"))?;
    weights::save(&optimizer.state()?, &none, &folder.join("optimizer.safetensors"))?;
    if let Some(ema) = ema {
        weights::save(ema.averages(), &none, &folder.join("ema.safetensors"))?;
    }
    let state = State {
        format: FORMAT.to_owned(),
        version: VERSION,
        ema_steps: ema.map(Ema::n_steps),
        progress: progress.clone(),
    };
    let file = folder.join("state.json");
    let text = serde_json::to_vec_pretty(&state).map_err(|error| EngineError::config(&file, error.to_string()))?;
    let written = File::create(&file).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(|error| EngineError::io(&file, error))
}

fn parse(text: &[u8]) -> Result<State, String> {
    /// What says whether the rest can be understood.
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let head: Head = serde_json::from_slice(text).map_err(|error| format!("is no resume point's: {error}"))?;
    if head.format != FORMAT {
        return Err(format!("is of the format `{}`, not `{FORMAT}`", head.format));
    }
    if head.version != VERSION {
        return Err(format!("has version {}, and this program reads {VERSION}", head.version));
    }
    serde_json::from_slice(text).map_err(|error| format!("is damaged: {error}"))
}

/// Removes the folder `path`, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io(path, error)),
        _ => Ok(()),
    }
}

/// Makes names in `folder` last.
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| EngineError::io(folder, error))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
