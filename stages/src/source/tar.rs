//! WebDataset tars: members that share all of their name up to the first dot belong together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cafe_pipeline::stage::{ErrorClass, WorkError};
use serde_json::Value;

use super::labels::Labels;
use super::{Found, check, unreadable, wrong};
use crate::picture::{Fault, Limits};

/// Labels larger than this are not labels.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// The members of one sample.
#[derive(Default)]
struct Sample {
    pictures: Vec<(String, u64, u64)>,
    labels: Labels,
}

/// The pictures of all tars, in their order.
pub(super) fn list(base: &Path, files: &[PathBuf]) -> Result<Vec<Found>, WorkError> {
    let mut found = Vec::new();
    for file in files {
        list_one(base, file, &mut found)?;
    }
    Ok(found)
}

fn list_one(base: &Path, path: &Path, found: &mut Vec<Found>) -> Result<(), WorkError> {
    let at = |message: String| wrong(format!("{}: {message}", path.display()));
    let file = File::open(base.join(path)).map_err(|error| at(error.to_string()))?;
    let length = file.metadata().map_err(|error| at(error.to_string()))?.len();
    let name = path.to_str().ok_or_else(|| at("the name is not UTF-8: rename the file".to_owned()))?;
    let mut archive = tar::Archive::new(file);
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    // Samples in the order of their first member.
    let mut order = Vec::new();
    let mut last = "its beginning".to_owned();
    let entries = archive.entries_with_seek().map_err(|error| at(error.to_string()))?;
    for entry in entries {
        let mut entry =
            entry.map_err(|error| at(format!("is not a whole tar file (after {last}): {error}; fetch it again")))?;
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.saturating_add(size) > length {
            return Err(at(format!("ends within {member}; fetch it again")));
        }
        last.clone_from(&member);
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some((key, extension)) = split(&member) else { continue };
        let sample = samples.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Sample::default()
        });
        match extension.as_str() {
            "jpg" | "jpeg" | "png" | "webp" | "gif" | "bmp" => sample.pictures.push((member, offset, size)),
            "txt" | "cls" | "json" if size <= MAX_LABEL_BYTES => {
                let mut text = String::new();
                entry.read_to_string(&mut text).map_err(|error| at(format!("{member}: {error}")))?;
                label(&mut sample.labels, &extension, &text).map_err(|message| at(format!("{member}: {message}")))?;
            }
            _ => {}
        }
    }
    for key in order {
        let Some(sample) = samples.remove(&key) else { continue };
        for (member, offset, n_bytes) in sample.pictures {
            found.push(Found {
                key: format!("{name}:{member}"),
                file: name.to_owned(),
                offset,
                n_bytes: Some(n_bytes),
                labels: sample.labels.clone(),
                version: None,
                fault: None,
            });
        }
    }
    Ok(())
}

/// The key of a member (folder included), and its extension, which begins at the first dot of the name.
fn split(member: &str) -> Option<(String, String)> {
    let (folder, name) = member.rsplit_once('/').unwrap_or(("", member));
    let (key, extension) = name.split_once('.')?;
    (!key.is_empty()).then(|| (format!("{folder}/{key}"), extension.to_lowercase()))
}

fn label(labels: &mut Labels, extension: &str, text: &str) -> Result<(), String> {
    match extension {
        "txt" => labels.set("caption", text),
        "cls" => labels.set("class", text),
        _ => {
            let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            labels.set_json(value.as_object().ok_or("a JSON object was expected")?);
        }
    }
    Ok(())
}

/// The bytes of a picture.
pub(super) fn read(base: &Path, found: &Found, limits: &Limits) -> Result<Vec<u8>, Fault> {
    check(found, limits)?;
    let n_bytes = found.n_bytes.unwrap_or_default();
    let mut file = File::open(base.join(&found.file)).map_err(|error| unreadable(&error))?;
    file.seek(SeekFrom::Start(found.offset)).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(n_bytes).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 == n_bytes {
        return Ok(bytes);
    }
    Err(Fault::new(ErrorClass::Unreadable, "the tar file is shorter than it was when it was listed: run it again"))
}
