//! What only this implementation promises, and the suite that all catalogs pass.

use async_trait::async_trait;
use cafe_pipeline::catalog::{CatalogError, Result, SharedCatalog};
use tempfile::TempDir;

use crate::conformance::Place;

mod speed;

/// A folder that goes away after the test.
struct Folder(TempDir);

#[async_trait]
impl Place for Folder {
    async fn open(&self) -> Result<SharedCatalog> {
        crate::open("sqlite:deep/er/catalog.db", self.0.path()).await
    }
}

fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

mod conformance {
    use super::folder;

    crate::conformance_suite!(folder);
}

fn unusable(result: Result<SharedCatalog>) -> (String, String) {
    match result {
        Err(CatalogError::Unusable { message, help }) => (message, help),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

async fn execute(folder: &Folder, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.0.path().join("deep/er/catalog.db"))
        .create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn a_newer_catalog_is_refused() {
    let folder = folder();
    folder.open().await.unwrap().close().await;
    execute(&folder, "INSERT INTO _sqlx_migrations SELECT 9001, 'later', installed_on, success, checksum, 0 FROM _sqlx_migrations LIMIT 1").await;
    let (message, help) = unusable(folder.open().await);
    assert!(message.contains("newer version") && message.contains("9001"), "{message}");
    assert!(message.contains("catalog.db") && help.contains("newer program"), "{message} {help}");
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let folder = folder();
    folder.open().await.unwrap().close().await;
    execute(&folder, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    assert!(unusable(folder.open().await).0.contains("schema 1"));
}

#[tokio::test]
async fn other_files_are_refused_and_left_alone() {
    let folder = folder();
    let path = folder.0.path().join("deep/er/catalog.db");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "These are notes, no database at all. ".repeat(100)).unwrap();
    assert!(unusable(folder.open().await).0.contains("not a catalog"));
    std::fs::remove_file(&path).unwrap();
    execute(&folder, "CREATE TABLE recipes (title TEXT)").await;
    let before = std::fs::read(&path).unwrap();
    assert!(unusable(folder.open().await).0.contains("another program"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn many_processes_create_one_catalog_at_once() {
    let folder = folder();
    let opened = tokio::join!(folder.open(), folder.open(), folder.open(), folder.open());
    for catalog in [opened.0, opened.1, opened.2, opened.3] {
        catalog.unwrap().close().await;
    }
}

#[tokio::test]
async fn commits_are_durable_by_the_settings() {
    let folder = folder();
    let connections = super::open::connect(&folder.0.path().join("catalog.db")).await.unwrap();
    let mut writer = connections.writer;
    for (pragma, wanted) in [("PRAGMA journal_mode", "wal"), ("PRAGMA synchronous", "2"), ("PRAGMA foreign_keys", "1")]
    {
        let row: sqlx::sqlite::SqliteRow = sqlx::query(pragma).fetch_one(&mut writer).await.unwrap();
        let value = sqlx::Row::try_get::<String, _>(&row, 0)
            .or_else(|_| sqlx::Row::try_get::<i64, _>(&row, 0).map(|number| number.to_string()));
        assert_eq!(value.unwrap(), wanted, "{pragma}");
    }
    let refused = sqlx::query("DELETE FROM shards").execute(&connections.readers).await;
    assert!(refused.is_err(), "readers cannot write");
}

/// A full disk is told as such, spoils nothing, and goes on once there is room.
#[tokio::test]
async fn a_full_disk_is_told_apart() {
    let folder = folder();
    let path = folder.0.path().join("catalog.db");
    let mut connections = super::open::connect(&path).await.unwrap();
    let n_pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut connections.writer).await.unwrap();
    // SQLite answers SQLITE_FULL at this limit, as it does when the disk is full.
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", n_pages + 4));
    sqlx::query(limit).execute(&mut connections.writer).await.unwrap();
    let writer = super::writer::Writer::start(connections.writer);
    let events = |n: usize| {
        let text = "x".repeat(n);
        let event =
            cafe_pipeline::catalog::EventRecord { at_ms: 0, run: None, kind: "k".to_owned(), detail: text.into() };
        writer.run(super::writer::Kind::Other, move |connection| {
            let event = event.clone();
            Box::pin(async move { super::record::record_events(connection, &[event]).await })
        })
    };
    let outcome = events(1 << 20).await;
    assert!(matches!(outcome, Err(CatalogError::DiskFull(_))), "{outcome:?}");
    events(10).await.unwrap();
    assert_eq!(super::record::events(&connections.readers, 10).await.unwrap().len(), 1);
}
