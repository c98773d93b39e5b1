//! SHA-256 of files, as `sha256sum` prints it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use cafe_pipeline::stage::Cancel;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::trouble::Trouble;

/// A file, and what it is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Its name in the model's folder.
    pub(crate) path: String,
    /// SHA-256.
    pub(crate) sha256: String,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Reads the file `path` below `folder`.
pub(super) fn of_file(folder: &Path, path: &str, cancel: &Cancel) -> Result<Known, Trouble> {
    let place = folder.join(path);
    let failed = Trouble::at(&place);
    let mut file = File::open(&place).map_err(&failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut n_bytes = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let n_read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n_read) => n_read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hasher.update(buffer.get(..n_read).unwrap_or_default());
        n_bytes += n_read as u64;
    }
    Ok(Known { path: path.to_owned(), sha256: hex(&hasher.finalize()), bytes: n_bytes })
}

/// SHA-256 of a text.
pub(super) fn of_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "abc").unwrap();
        let known = of_file(folder.path(), "a", &Cancel::default()).unwrap();
        assert_eq!(known.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((known.bytes, of_text("abc")), (3, known.sha256));
        assert!(matches!(of_file(folder.path(), "b", &Cancel::default()), Err(Trouble::Here(_))));
    }
}
