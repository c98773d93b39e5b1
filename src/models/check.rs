//! Whether a model is what its declaration says: its files by their digests, its config by its numbers.

use std::fs;
use std::path::Path;

use cafe_engine::verify::Check;
use cafe_pipeline::manifest::{ModelDecl, ModelFile};
use cafe_pipeline::stage::Cancel;
use cafe_pipeline::text::{bytes, counted};
use serde_json::Value;

use super::digest::{self, Known};
use super::local::mistake;
use super::record::Record;
use super::trouble::{Stop, Trouble};

/// Reads all files of `folder`, and compares them with what was fetched, or with what is pinned of a folder of the user's.
pub(crate) fn digests(decl: &ModelDecl, folder: &Path, cancel: &Cancel) -> Result<Check, Stop> {
    let record = Record::read(folder);
    let files: Vec<ModelFile> = match &record {
        Some(record) => record.files.iter().map(pinned).collect(),
        None => decl.files.clone(),
    };
    let (mut n_bytes, mut n_pinned, mut mistakes) = (0, 0, Vec::new());
    for file in &files {
        let known = match digest::of_file(folder, &file.path, cancel) {
            Ok(known) => known,
            Err(Trouble::Stopped) => return Err(Stop::Stopped),
            Err(Trouble::Here(message) | Trouble::Passing(message) | Trouble::Lasting(message)) => {
                mistakes.push(message);
                continue;
            }
        };
        n_bytes += known.bytes;
        n_pinned += u64::from(file.sha256.is_some());
        mistakes.extend(mistake(file, &known));
    }
    let outcome = if mistakes.is_empty() {
        let n_files = files.len() as u64;
        let pinned = match n_pinned {
            _ if record.is_some() && decl.files.iter().any(|file| file.sha256.is_none()) => "as fetched, not pinned",
            _ if record.is_some() && decl.prepare.is_some() => "as made of pinned files",
            _ if record.is_some() => "as pinned",
            0 => "none is pinned",
            n_pinned if n_pinned == n_files => "as pinned",
            _ => "some are not pinned",
        };
        Ok(format!("{}, {}, {pinned}", counted(n_files, "file"), bytes(n_bytes)))
    } else {
        Err(mistakes.join("; "))
    };
    Ok(Check { what: "digests", outcome })
}

fn pinned(known: &Known) -> ModelFile {
    ModelFile { path: known.path.clone(), sha256: Some(known.sha256.clone()), bytes: Some(known.bytes) }
}

/// Compares the numbers of the model's configs with those that the declaration wants; `None` where it wants none.
pub(crate) fn dims(decl: &ModelDecl, folder: &Path) -> Option<Check> {
    let mistakes: Vec<String> =
        decl.dims.iter().filter_map(|(name, wanted)| dim(folder, name, *wanted).err()).collect();
    let said: Vec<String> = decl.dims.iter().map(|(name, wanted)| format!("{name} {wanted}")).collect();
    let outcome = if mistakes.is_empty() { Ok(said.join(", ")) } else { Err(mistakes.join("; ")) };
    (!decl.dims.is_empty()).then_some(Check { what: "dims", outcome })
}

/// `FOLDER/KEY.KEY` is in `FOLDER/config.json`.
fn dim(folder: &Path, name: &str, wanted: u64) -> Result<(), String> {
    let (inner, keys) = name.rsplit_once('/').unwrap_or(("", name));
    let path = folder.join(inner).join("config.json");
    let said = |message: String| format!("{}: {message}", path.display());
    let text = fs::read(&path).map_err(|error| said(error.to_string()))?;
    let config: Value = serde_json::from_slice(&text).map_err(|error| said(error.to_string()))?;
    let value = keys.split('.').try_fold(&config, |value, key| value.get(key));
    match value {
        Some(value) if value.as_u64() == Some(wanted) => Ok(()),
        Some(value) => Err(said(format!("`{keys}` is {value}, where {wanted} is wanted"))),
        None => Err(said(format!("there is no `{keys}`, where {wanted} is wanted"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decl(rest: &str) -> ModelDecl {
        let text =
            format!("version = 1\n[models.x]\nrole = \"llm\"\nsources = [{{ type = \"path\", path = \"x\" }}]\n{rest}");
        cafe_pipeline::manifest::parse_models(Path::new("x.toml"), &text).unwrap().remove("x").unwrap()
    }

    #[test]
    fn numbers_of_configs_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("unet")).unwrap();
        fs::write(folder.path().join("config.json"), r#"{"a": 1, "b": {"c": 2}}"#).unwrap();
        fs::write(folder.path().join("unet/config.json"), r#"{"d": 3}"#).unwrap();
        let of = |dims: &str| dims_of(dims, folder.path());
        assert_eq!(of("a = 1, \"b.c\" = 2, \"unet/d\" = 3"), Some(Ok("a 1, b.c 2, unet/d 3".to_owned())));
        let said = of("a = 2, e = 1, \"vae/d\" = 3").unwrap().unwrap_err();
        for wanted in ["`a` is 1, where 2", "there is no `e`", "vae/config.json"] {
            assert!(said.contains(wanted), "{said}");
        }
        assert_eq!(of(""), None);
    }

    fn dims_of(dims: &str, folder: &Path) -> Option<Result<String, String>> {
        super::dims(&decl(&format!("dims = {{ {dims} }}")), folder).map(|check| check.outcome)
    }

    #[test]
    fn files_are_compared_with_their_pins() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let of = |files: &str| {
            let check = digests(&decl(&format!("files = [{files}]")), folder.path(), &Cancel::default());
            check.ok().unwrap().outcome
        };
        assert_eq!(of(&format!("{{ path = \"a\", sha256 = \"{abc}\" }}")).unwrap(), "1 file, 3 B, as pinned");
        assert!(of("{ path = \"a\" }").unwrap().ends_with("none is pinned"));
        assert!(of(&format!("{{ path = \"a\", sha256 = \"{}\" }}", "0".repeat(64))).unwrap_err().contains(abc));
        assert!(of("{ path = \"b\" }").unwrap_err().contains("/b: "));
    }
}
