//! The pictures of a folder that is no source: a benchmark's.

use std::path::Path;

use walkdir::WalkDir;

use super::EXTENSIONS;

/// What lies below a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Below {
    /// Paths from the folder, in the order of the walk: by name, folder by folder.
    pub(crate) pictures: Vec<String>,
    /// Hidden files and folders, and files that do not end as pictures do.
    pub(crate) n_ignored: u64,
}

/// The pictures below `root`, known by the endings of their names.
///
/// # Errors
/// What cannot be listed, and why.
pub(crate) fn below(root: &Path) -> Result<Below, String> {
    let mut found = Below::default();
    let mut entries = WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| format!("cannot list {}: {error}", root.display()))?;
        if entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.n_ignored += 1;
            if entry.file_type().is_dir() {
                entries.skip_current_dir();
            }
        } else if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            if !is_picture(path) {
                found.n_ignored += 1;
                continue;
            }
            let path = path
                .to_str()
                .ok_or_else(|| format!("the name of {} is not UTF-8: rename the file", entry.path().display()))?;
            found.pictures.push(path.to_owned());
        }
    }
    Ok(found)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|wanted| wanted.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_from_what_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["dog/01.JPG", "dog/00.jpg", "cat/00.png", "README.md", "dog/.00.jpg", ".git/a.jpg", ".git/b.jpg"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = below(folder.path()).unwrap();
        assert_eq!(found.pictures, ["cat/00.png", "dog/00.jpg", "dog/01.JPG"]);
        // The text, the hidden picture, and the hidden folder, whatever is in it.
        assert_eq!(found.n_ignored, 3);
        assert!(below(&folder.path().join("absent")).unwrap_err().contains("absent"));
    }
}
