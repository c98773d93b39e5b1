//! The one task of a process that writes. Whatever waits when it comes round is done in one transaction and synced once:
//! while one commit is on its way to the disk, the next group gathers.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::{Duration, Instant};

use cafe_pipeline::catalog::{CatalogError, Result};
use cafe_pipeline::failpoint::{self, FailPoint};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::error;

/// A boxed future that borrows the connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// Operations that may wait; beyond, callers do.
const QUEUE: usize = 1024;
/// Operations per transaction at most: bounds what one bad COMMIT can take with it.
const GROUP: usize = 256;
/// How long other processes may keep the write lock before callers are told to try again.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// What an operation is, as far as the writer cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A shard's commit.
    ShardCommit,
    /// Another file in place of a shard's.
    Compaction,
    /// Anything else.
    Other,
}

impl Kind {
    /// The fail points before and after the transaction.
    fn points(self) -> Option<[FailPoint; 2]> {
        match self {
            Self::ShardCommit => Some([FailPoint::ShardCommitting, FailPoint::ShardCommitted]),
            Self::Compaction => Some([FailPoint::CompactCommitting, FailPoint::CompactCommitted]),
            Self::Other => None,
        }
    }
}

/// An operation in the queue: runs on the connection, keeps its result, and replies once that is durable.
trait Operation: Send {
    fn kind(&self) -> Kind;
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Can be called again after a rollback.
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> Work<'c, ()>;
    fn reply(self: Box<Self>, outcome: Result<()>);
}

struct Queued<T, F> {
    kind: Kind,
    work: F,
    done: Option<T>,
    caller: oneshot::Sender<Result<T>>,
}

impl<T, F> Operation for Queued<T, F>
where
    T: Send,
    F: for<'c> Fn(&'c mut SqliteConnection) -> Work<'c, T> + Send,
{
    fn kind(&self) -> Kind {
        self.kind
    }

    fn is_abandoned(&self) -> bool {
        self.caller.is_closed()
    }

    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> Work<'c, ()> {
        Box::pin(async move {
            self.done = None;
            self.done = Some((self.work)(connection).await?);
            Ok(())
        })
    }

    fn reply(self: Box<Self>, outcome: Result<()>) {
        let Self { done, caller, .. } = *self;
        let missing = || CatalogError::Internal("operation was not run".to_owned());
        // A caller that went away does not want to know.
        let _ = caller.send(outcome.and_then(|()| done.ok_or_else(missing)));
    }
}

enum Message {
    Run(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

/// The way to the writer task.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Message>);

impl Writer {
    /// Starts the task, which owns the connection.
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(serve(connection, receiver));
        Self(sender)
    }

    /// Has `work` done in a transaction, and returns once it is durable. All or nothing of it is. It may be called
    /// again, after a rollback. It is done even when the caller stops waiting in the middle of it.
    pub(super) async fn run<T, F>(&self, kind: Kind, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (caller, reply) = oneshot::channel();
        let closed = || CatalogError::Internal("used after it was closed".to_owned());
        let queued = Queued { kind, work, done: None, caller };
        self.0.send(Message::Run(Box::new(queued))).await.map_err(|_| closed())?;
        reply.await.map_err(|_| closed())?
    }

    /// Waits until all that is queued is written, and closes the connection.
    pub(super) async fn close(&self) {
        let (sender, done) = oneshot::channel();
        if self.0.send(Message::Close(sender)).await.is_ok() {
            let _ = done.await;
        }
    }
}

async fn serve(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Message>) {
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = queue.recv().await else { break };
        let mut next = Some(first);
        let mut group = Vec::new();
        while let Some(message) = next.take() {
            match message {
                Message::Run(operation) if operation.is_abandoned() => {}
                Message::Run(operation) => group.push(operation),
                Message::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
            if group.len() < GROUP {
                next = queue.try_recv().ok();
            }
        }
        write_group(&mut connection, group).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!("closing the catalog: {error}");
    }
    if let Some(done) = closing {
        let _ = done.send(());
    }
}

async fn write_group(connection: &mut SqliteConnection, mut group: Vec<Box<dyn Operation>>) {
    if group.is_empty() {
        return;
    }
    let mut outcome = write_together(connection, &mut group).await;
    if outcome.is_err() {
        // SQLite may have rolled back by itself; then this says that there is nothing to roll back.
        let _ = execute(connection, "ROLLBACK").await;
    }
    if matches!(outcome, Err(Failure::Operation(_))) && group.len() > 1 {
        outcome = write_apart(connection, &mut group).await.map_err(Failure::Group);
        if outcome.is_err() {
            let _ = execute(connection, "ROLLBACK").await;
        }
    }
    match outcome {
        Ok(outcomes) => {
            for (operation, outcome) in group.into_iter().zip(outcomes) {
                operation.reply(outcome);
            }
        }
        Err(Failure::Operation(error) | Failure::Group(error)) => {
            for operation in group {
                operation.reply(Err(error::copy(&error)));
            }
        }
    }
}

/// Why a group was not written.
enum Failure {
    /// One operation failed.
    Operation(CatalogError),
    /// The transaction did.
    Group(CatalogError),
}

/// Writes a group in the hope that all goes well, which it nearly always does: then no savepoints are needed.
async fn write_together(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Operation>],
) -> std::result::Result<Vec<Result<()>>, Failure> {
    begin(connection).await.map_err(Failure::Group)?;
    for operation in &mut *group {
        operation.run(connection).await.map_err(Failure::Operation)?;
    }
    let kinds: BTreeSet<Kind> = group.iter().map(|operation| operation.kind()).collect();
    commit(connection, &kinds).await.map_err(Failure::Group)?;
    Ok(group.iter().map(|_| Ok(())).collect())
}

/// Writes a group each operation of which may fail without spoiling the others. An error here is that of all.
async fn write_apart(connection: &mut SqliteConnection, group: &mut [Box<dyn Operation>]) -> Result<Vec<Result<()>>> {
    begin(connection).await?;
    let mut outcomes = Vec::with_capacity(group.len());
    let mut kinds = BTreeSet::new();
    for operation in group {
        execute(connection, "SAVEPOINT operation").await?;
        let outcome = operation.run(connection).await;
        if let Err(error) = &outcome {
            // A full disk and the like make SQLite roll everything back; then there is no savepoint, and the group's
            // other operations are undone too.
            execute(connection, "ROLLBACK TO operation").await.map_err(|_| error::copy(error))?;
        }
        execute(connection, "RELEASE operation").await?;
        if outcome.is_ok() {
            kinds.insert(operation.kind());
        }
        outcomes.push(outcome);
    }
    commit(connection, &kinds).await?;
    Ok(outcomes)
}

/// Commits a transaction with operations of these kinds.
async fn commit(connection: &mut SqliteConnection, kinds: &BTreeSet<Kind>) -> Result<()> {
    let points: Vec<[FailPoint; 2]> = kinds.iter().filter_map(|kind| kind.points()).collect();
    for [before, _] in &points {
        failpoint::try_pass(*before).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => CatalogError::DiskFull(error.to_string()),
            _ => CatalogError::Transient(error.to_string()),
        })?;
    }
    execute(connection, "COMMIT").await?;
    for [_, after] in points {
        failpoint::pass(after);
    }
    Ok(())
}

/// Takes the write lock, which other processes may hold for a while.
async fn begin(connection: &mut SqliteConnection) -> Result<()> {
    let start = Instant::now();
    loop {
        match execute(connection, "BEGIN IMMEDIATE").await {
            Err(CatalogError::Transient(message)) => {
                if start.elapsed() > LOCK_PATIENCE {
                    return Err(CatalogError::Transient(format!("another process writes all the time: {message}")));
                }
            }
            other => return other,
        }
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).execute(connection).await.map(|_| ()).map_err(error::from_sqlx)
}
