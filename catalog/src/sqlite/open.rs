//! Opens a catalog: the right place, the right file, the right schema, the right settings.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cafe_pipeline::catalog::{CatalogError, Result};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{error, filesystem};

/// The schema's history.
pub(super) static MIGRATOR: Migrator = sqlx::migrate!("../migrations/sqlite");

/// `application_id` of a catalog: `cafe`, as the first migration sets it.
const APPLICATION_ID: i64 = 0x6361_6665;
/// How long to wait for another process that creates or upgrades the same catalog.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);
/// How long SQLite waits for a lock by itself. Its pauses grow to a tenth of a second, too long against commits of some
/// milliseconds: so it is asked anew instead, with short pauses again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(60);

/// The connections to a catalog.
pub(super) struct Connections {
    /// The one that writes.
    pub(super) writer: SqliteConnection,
    /// Those that look.
    pub(super) readers: SqlitePool,
}

/// Opens, and creates or upgrades, the catalog at `path`.
pub(super) async fn connect(path: &Path) -> Result<Connections> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| CatalogError::Unusable {
        message: format!("cannot create the catalog's folder {}: {error}", folder.display()),
        help: "name a folder where this user may write".to_owned(),
    })?;
    filesystem::check(folder)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(256)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-65536")
        .pragma("mmap_size", "268435456")
        .disable_statement_logging();
    let writing = options
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Checkpoints sync the whole database: every 16 MiB of log rather than every 4.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864");
    let reading = options.read_only(true).busy_timeout(Duration::from_secs(10));
    let start = Instant::now();
    let writer = loop {
        match open_writer(path, &reading, &writing).await {
            Ok(writer) => break writer,
            // Another process holds the lock.
            Err(CatalogError::Transient(_)) if start.elapsed() < OPENING_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(at(path, error)),
        }
    };
    let readers = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false).connect_lazy_with(reading);
    Ok(Connections { writer, readers })
}

async fn open_writer(
    path: &Path,
    reading: &SqliteConnectOptions,
    writing: &SqliteConnectOptions,
) -> Result<SqliteConnection> {
    if path.try_exists().unwrap_or(false) {
        refuse_foreign(reading).await?;
    }
    let mut writer = writing.connect().await.map_err(error::from_sqlx)?;
    // One process at a time: a migration applied twice would fail.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error::from_sqlx)?;
    let newest_known = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    MIGRATOR
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| error::from_migrate(error, newest_known))?;
    transaction.commit().await.map_err(error::from_sqlx)?;
    sqlx::raw_sql(include_str!("sql/temporary.sql")).execute(&mut writer).await.map_err(error::from_sqlx)?;
    Ok(writer)
}

/// Refuses a database that holds something else, before anything is written to it.
async fn refuse_foreign(options: &SqliteConnectOptions) -> Result<()> {
    let mut reader = options.connect().await.map_err(error::from_sqlx)?;
    let application_id: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut reader).await.map_err(error::from_sqlx)?;
    let n_tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name NOT GLOB '_sqlx_*'")
        .fetch_one(&mut reader)
        .await
        .map_err(error::from_sqlx)?;
    reader.close().await.map_err(error::from_sqlx)?;
    if application_id == APPLICATION_ID || (application_id == 0 && n_tables == 0) {
        return Ok(());
    }
    Err(CatalogError::Unusable {
        message: "the file is a database of another program".to_owned(),
        help: "name another file in the manifest's `catalog`".to_owned(),
    })
}

/// Says which file an error is about.
fn at(path: &Path, error: CatalogError) -> CatalogError {
    match error {
        CatalogError::Unusable { message, help } => {
            CatalogError::Unusable { message: format!("{}: {message}", path.display()), help }
        }
        CatalogError::Transient(message) => CatalogError::Transient(format!("{}: {message}", path.display())),
        other => other,
    }
}
