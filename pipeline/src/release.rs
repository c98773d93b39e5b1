//! A release, as all who read it begin: the catalog knows the digest of its `release.json`, and that the digests of its files.

use crate::digest::Digest;
use crate::storage::{self, Storage};

/// The file that makes a folder a release.
pub const RELEASE_JSON: &str = "release.json";

/// The bytes of `release.json` in `folder`, which must have the digest that was published.
///
/// # Errors
/// What is wrong with the file, in words: "cannot be read: …".
pub fn published(storage: &dyn Storage, folder: &str, digest: Digest) -> Result<Vec<u8>, String> {
    let bytes = storage::read(storage, &format!("{folder}/{RELEASE_JSON}"));
    let bytes = bytes.map_err(|error| format!("cannot be read: {error}"))?;
    let found = Digest::of(&bytes);
    if found == digest {
        Ok(bytes)
    } else {
        Err(format!("has other bytes than were published (digest {found}, published {digest})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{LocalStorage, write_once};

    #[test]
    fn only_what_was_published_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let storage = LocalStorage::create(dir.path().join("data")).unwrap();
        let digest = write_once(&storage, "releases/a/release.json", b"{}").unwrap().digest;
        assert_eq!(published(&storage, "releases/a", digest).unwrap(), b"{}");
        let other = published(&storage, "releases/a", Digest::of(b"[]")).unwrap_err();
        assert!(other.starts_with("has other bytes than were published (digest "), "{other}");
        let absent = published(&storage, "releases/b", digest).unwrap_err();
        assert!(absent.starts_with("cannot be read: "), "{absent}");
    }
}
