//! A release's `release.json`, and the files that it lists under `files` with path, digest and size.

use serde_json::Value;

use crate::catalog::ReleaseRecord;
use crate::digest::Digest;
use crate::release::{RELEASE_JSON, published};
use crate::storage::{self, Storage};

/// What is wrong with which file of the release.
pub(super) fn faults(storage: &dyn Storage, record: &ReleaseRecord, verify: bool) -> Vec<(String, String)> {
    // Its format is no matter here: what older versions have published is read, too.
    let described = published(storage, &record.path, record.digest)
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| format!("is not JSON: {error}")));
    let described: Value = match described {
        Ok(described) => described,
        Err(fault) => return vec![(format!("{}/{RELEASE_JSON}", record.path), fault)],
    };
    let mut files = Vec::new();
    listed(&described, &mut files);
    files
        .into_iter()
        .filter_map(|file| {
            let name = file.get("path")?.as_str()?;
            let path = format!("{}/{name}", record.path);
            let fault = check(storage, &path, file, verify).err()?;
            Some((path, fault))
        })
        .collect()
}

/// The entries of every list called `files`.
fn listed<'a>(value: &'a Value, files: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Array(items) if name == "files" => files.extend(items),
                    other => listed(other, files),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| listed(item, files)),
        _ => {}
    }
}

fn check(storage: &dyn Storage, path: &str, file: &Value, verify: bool) -> Result<(), String> {
    let n_bytes = storage.size(path).map_err(|error| error.to_string())?;
    if let Some(published) = file.get("n_bytes").and_then(Value::as_u64).filter(|published| *published != n_bytes) {
        return Err(format!("has {n_bytes} bytes, {published} were published"));
    }
    let Some(published) = file.get("digest").and_then(Value::as_str).filter(|_| verify) else { return Ok(()) };
    let digest = Digest::of(&storage::read(storage, path).map_err(|error| error.to_string())?).to_hex();
    if digest == published { Ok(()) } else { Err("has other bytes than were published".to_owned()) }
}
