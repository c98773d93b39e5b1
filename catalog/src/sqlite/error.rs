//! What SQLite's errors mean to the pipeline.

use cafe_pipeline::catalog::CatalogError;
use sqlx::migrate::MigrateError;

/// Primary result codes, from SQLite's documentation.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const NOMEM: u32 = 7;
    pub(super) const READONLY: u32 = 8;
    pub(super) const INTERRUPT: u32 = 9;
    pub(super) const IOERR: u32 = 10;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const PROTOCOL: u32 = 15;
    pub(super) const NOTADB: u32 = 26;
}

/// The primary result code, when the error came from SQLite itself.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    // The upper bits tell variants apart.
    Some(code & 0xff)
}

/// Sorts an error by what can be done about it.
pub(super) fn from_sqlx(error: sqlx::Error) -> CatalogError {
    let unusable = |message: String, help: &str| CatalogError::Unusable { message, help: help.to_owned() };
    match primary_code(&error) {
        Some(code::BUSY | code::LOCKED | code::PROTOCOL | code::INTERRUPT | code::NOMEM) => {
            CatalogError::Transient(error.to_string())
        }
        Some(code::FULL) => CatalogError::DiskFull(error.to_string()),
        Some(code::READONLY) => unusable(
            format!("the catalog cannot be written: {error}"),
            "make the catalog and its folder writable for this user",
        ),
        Some(code::CANTOPEN) => unusable(
            format!("the catalog cannot be opened: {error}"),
            "see that its folder exists and that this user may write there",
        ),
        Some(code::NOTADB) => unusable(
            format!("the file is not a catalog: {error}"),
            "name another file in the manifest's `catalog`, or move this one away",
        ),
        Some(code::CORRUPT) => unusable(
            format!("the catalog is damaged: {error}"),
            "restore it from a copy, or save what can be read with `sqlite3 FILE .recover`",
        ),
        Some(code::IOERR) => unusable(
            format!("the catalog's disk fails: {error}"),
            "look at the disk and the system's log, then run the same command again",
        ),
        _ => match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
                CatalogError::Transient(error.to_string())
            }
            sqlx::Error::PoolClosed => CatalogError::Internal("used after it was closed".to_owned()),
            other => CatalogError::Internal(other.to_string()),
        },
    }
}

/// The same error once more, for each of those who waited for one commit.
pub(super) fn copy(error: &CatalogError) -> CatalogError {
    match error {
        CatalogError::Transient(message) => CatalogError::Transient(message.clone()),
        CatalogError::DiskFull(message) => CatalogError::DiskFull(message.clone()),
        CatalogError::Unusable { message, help } => {
            CatalogError::Unusable { message: message.clone(), help: help.clone() }
        }
        CatalogError::OtherPlanRunning { worker, pid, host } => {
            CatalogError::OtherPlanRunning { worker: *worker, pid: *pid, host: host.clone() }
        }
        CatalogError::Internal(message) => CatalogError::Internal(message.clone()),
    }
}

/// Says what is wrong with a catalog whose schema does not fit.
pub(super) fn from_migrate(error: MigrateError, newest_known: i64) -> CatalogError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => from_sqlx(error),
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => CatalogError::Unusable {
            message: format!(
                "the catalog was written by a newer version of the program (its schema is {version}, this program \
                 knows {newest_known})"
            ),
            help: "use the newer program, or name another catalog in the manifest".to_owned(),
        },
        MigrateError::VersionMismatch(version) => CatalogError::Unusable {
            message: format!("the catalog's schema {version} is not the one of this program"),
            help: "use the program that wrote it, or name another catalog in the manifest".to_owned(),
        },
        other => CatalogError::Internal(other.to_string()),
    }
}
