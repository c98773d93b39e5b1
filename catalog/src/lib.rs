//! The catalog of a project: SQL behind [`cafe_pipeline::catalog::Catalog`].
//!
//! [`open`] is the only way in. Every implementation passes the suite in [`conformance`].

pub mod conformance;
mod sqlite;

use std::path::Path;

use cafe_pipeline::catalog::{CatalogError, Result, SharedCatalog};

/// Opens the catalog at `url`, and creates it where there is none. A relative path counts from `folder`, which is that
/// of the manifest.
///
/// # Errors
/// [`CatalogError::Unusable`] when the URL is not one of a catalog, when the catalog lies on a network file system, was
/// written by a newer version, or is not a catalog; [`CatalogError::Transient`] when it stays locked.
pub async fn open(url: &str, folder: &Path) -> Result<SharedCatalog> {
    let path = sqlite_path(url)?;
    sqlite::open(&folder.join(path)).await
}

/// The path in `sqlite:PATH` or `sqlite://PATH`.
fn sqlite_path(url: &str) -> Result<&str> {
    let help =
        || "write `sqlite:catalog.db`, a path relative to the manifest, or `sqlite:///absolute/path.db`".to_owned();
    let unusable = |message: String| CatalogError::Unusable { message, help: help() };
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Err(unusable(match url.split_once(':') {
            Some((scheme, _)) => format!("a catalog at `{scheme}:` is not supported by this version"),
            None => format!("the catalog `{url}` has no scheme"),
        }));
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path == ":memory:" || path.ends_with('/') {
        return Err(unusable(format!("the catalog `{url}` names no file; it must outlive the process")));
    }
    if path.contains(['?', '#']) {
        return Err(unusable(format!("the catalog `{url}` has options, but takes none")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_urls() {
        assert_eq!(sqlite_path("sqlite:catalog.db").unwrap(), "catalog.db");
        assert_eq!(sqlite_path("sqlite://work/catalog.db").unwrap(), "work/catalog.db");
        assert_eq!(sqlite_path("sqlite:///srv/catalog.db").unwrap(), "/srv/catalog.db");
    }

    #[test]
    fn other_urls_are_refused_with_advice() {
        // The scheme is named, the rest is not: it may hold a password.
        let message = sqlite_path("postgres://user:secret@db/cafe").unwrap_err().to_string();
        assert!(message.contains("postgres") && !message.contains("secret"), "{message}");
        for url in ["catalog.db", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "sqlite:folder/"] {
            let Err(CatalogError::Unusable { help, .. }) = sqlite_path(url) else { panic!("{url} was accepted") };
            assert!(help.contains("sqlite:catalog.db"));
        }
    }
}
