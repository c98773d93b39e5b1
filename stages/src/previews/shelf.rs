//! The pictures of one node: files that any number of processes add, and take away.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::report::utc;

/// A picture.
const PICTURE: &str = "jpg";
/// What it is.
const ABOUT: &str = "txt";
/// A file that is not whole yet.
const PARTIAL: &str = "part";

/// As much is read of what a picture is.
const ABOUT_BYTES: u64 = 4096;

/// The folder of a node.
pub(super) struct Shelf {
    folder: PathBuf,
}

/// A picture that is there.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    /// Its file, relative to the node's folder.
    file: String,
    /// When it was made.
    at: String,
    about: Vec<String>,
}

impl Shelf {
    /// That of `node`.
    pub(super) fn open(folder: &Path, node: &str) -> io::Result<Self> {
        let folder = folder.join(node);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Adds a picture.
    pub(super) fn put(&self, jpeg: &[u8], about: &str) -> io::Result<()> {
        let name = new_name();
        // Who finds a picture finds what it is, too.
        self.write(&self.file(&name, ABOUT), about.as_bytes())?;
        self.write(&self.file(&name, PICTURE), jpeg)
    }

    /// Writes `to` in one step: who reads it sees what was there, or all of it. What a power cut takes of it, nobody misses.
    pub(super) fn write(&self, to: &Path, bytes: &[u8]) -> io::Result<()> {
        let partial = self.file(&new_name(), PARTIAL);
        fs::write(&partial, bytes)?;
        match fs::rename(&partial, to) {
            // So many newer ones have come that it was taken away already.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    /// The newest `n` pictures, the newest first.
    pub(super) fn newest(&self, n: usize) -> io::Result<Vec<Picture>> {
        let names = self.names(|end| end == PICTURE)?;
        let picture = |name: &String| Picture {
            file: format!("{name}.{PICTURE}"),
            at: utc(made_ms(name).unwrap_or_default()),
            about: self.about(name),
        };
        Ok(names.iter().rev().take(n).map(picture).collect())
    }

    /// Takes away what is older than the newest `n` pictures, and with it what killed processes left. `n` is not 0.
    pub(super) fn thin(&self, n: usize) -> io::Result<()> {
        let pictures = self.names(|end| end == PICTURE)?;
        let Some(oldest) = pictures.iter().rev().nth(n - 1) else { return Ok(()) };
        for name in self.names(|_| true)?.iter().take_while(|name| *name < oldest) {
            for end in [PICTURE, ABOUT, PARTIAL] {
                match fs::remove_file(self.file(name, end)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The names of files with such an end, the oldest first. Files that nobody here has named are nobody's business.
    fn names(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.file_name();
            let parts = file.to_str().and_then(|file| file.split_once('.'));
            if let Some((name, _)) = parts.filter(|(name, end)| made_ms(name).is_some() && is_wanted(end)) {
                names.insert(name.to_owned());
            }
        }
        Ok(names)
    }

    /// What a picture is; nothing where that was taken away in the meantime.
    fn about(&self, name: &str) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = File::open(self.file(name, ABOUT)).and_then(|file| file.take(ABOUT_BYTES).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        if read.is_ok() { text.lines().map(ToOwned::to_owned).collect() } else { Vec::new() }
    }

    fn file(&self, name: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{name}.{end}"))
    }
}

/// A name that nobody else gives: `MILLISECONDS-NUMBER-PROCESS`, so that newer ones stand behind older ones.
fn new_name() -> String {
    static N_NAMES: AtomicU64 = AtomicU64::new(0);
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let number = N_NAMES.fetch_add(1, Ordering::Relaxed);
    format!("{ms:013}-{number:09}-{}", std::process::id())
}

/// When a name was given; `None` for names of others.
fn made_ms(name: &str) -> Option<i64> {
    let (ms, _) = name.split_once('-')?;
    ms.parse().ok().filter(|_| ms.len() == 13 && ms.bytes().all(|byte| byte.is_ascii_digit()))
}
