//! The settings that a training leaves beside its weights.

use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;

const SETTINGS: &str = "settings.json";

/// Writes `settings` to `folder`, or compares them with those that are there: a training goes on with the same settings.
pub(super) fn keep_settings(folder: &Path, settings: &Map<String, Value>) -> Result<(), Failure> {
    let path = folder.join(SETTINGS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut text = serde_json::to_vec_pretty(settings).map_err(|error| Failure::Internal(error.to_string()))?;
            text.push(b'\n');
            let temporary = path.with_extension("json.tmp");
            let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
            return written.map_err(|error| output(&path, &error));
        }
        Err(error) => return Err(output(&path, &error)),
    };
    let before: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), "name another folder as --output"))?;
    let differences: Vec<String> = settings
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .map(|(key, value)| format!("{key} was {}, and is {value}", before.get(key).unwrap_or(&Value::Null)))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("{} has another training: {}", folder.display(), differences.join("; "));
    Err(Failure::usage(message, "go on with the settings it was begun with, or name another folder as --output"))
}

pub(super) fn output(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()), "make room, or name another folder as --output")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn other_settings_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        keep_settings(folder.path(), &object(json!({"seed": 1, "steps": 5}))).unwrap();
        keep_settings(folder.path(), &object(json!({"seed": 1, "steps": 5}))).unwrap();
        let failure = keep_settings(folder.path(), &object(json!({"seed": 2, "steps": 5}))).unwrap_err();
        let Failure::Usage(message, _) = failure else { panic!("{failure:?}") };
        assert!(message.ends_with("has another training: seed was 1, and is 2"), "{message}");
    }
}
