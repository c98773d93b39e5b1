//! Places where a test can make the process die, stall or fail, to prove that nothing is lost there.
//!
//! Always compiled: what is tested is what is shipped. One environment variable, [`VARIABLE`], read once, arms them:
//! `CAFE_FAIL=shard_renamed=kill@3` kills the process at the third passage; several are separated by `;`. Actions:
//! `kill` (SIGKILL), `abort`, `panic`, `hang`, `exhaust` (allocate until the system says no), `enospc` and `eio` (the
//! operation fails with that error), `sleep:MS`. Row points take a row instead of a count: `row=abort@#17`.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The environment variable that arms fail points.
pub const VARIABLE: &str = "CAFE_FAIL";

macro_rules! fail_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Every place that can be armed, before and after each side effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FailPoint { $($(#[$doc])* $variant,)+ }

        impl FailPoint {
            /// All points, in the order in which a work item passes them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name used in [`VARIABLE`].
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

fail_points! {
    /// Before the plan's shards are written to the catalog.
    PlanApplying = "plan_applying",
    /// After the plan's shards are in the catalog.
    PlanApplied = "plan_applied",
    /// Before a chunk of work items is leased.
    LeaseTaking = "lease_taking",
    /// After a chunk of work items was leased.
    LeaseTaken = "lease_taken",
    /// Before each row of a batch is processed; armed with `@#ROW`, it hits that row of the shard.
    Row = "row",
    /// Before a journal record is appended.
    JournalAppending = "journal_appending",
    /// After a journal record was synced.
    JournalSynced = "journal_synced",
    /// Before the reply of a language model is stored.
    ReplyStoring = "reply_storing",
    /// After it was synced.
    ReplyStored = "reply_stored",
    /// Before a shard's temporary file is written.
    ShardWriting = "shard_writing",
    /// After the temporary file was written, before it is synced.
    ShardWritten = "shard_written",
    /// After the temporary file was synced, before it is renamed.
    ShardSynced = "shard_synced",
    /// After the rename, before the directory is synced.
    ShardRenamed = "shard_renamed",
    /// After the directory was synced, before the catalog knows of the file.
    DirectorySynced = "directory_synced",
    /// In the commit's transaction, before it is committed.
    ShardCommitting = "shard_committing",
    /// After the commit's transaction.
    ShardCommitted = "shard_committed",
    /// Before the files of a release become visible under its name.
    ReleasePublishing = "release_publishing",
    /// After they did, before the catalog knows of the release.
    ReleasePublished = "release_published",
    /// Before a heartbeat.
    HeartbeatSending = "heartbeat_sending",
    /// After a heartbeat.
    HeartbeatSent = "heartbeat_sent",
    /// Before the file is written that takes the place of a committed one: rejects without their pictures.
    CompactWriting = "compact_writing",
    /// After it is durable, before the catalog knows of it.
    CompactWritten = "compact_written",
    /// In the transaction that turns the catalog to it, before it is committed.
    CompactCommitting = "compact_committing",
    /// After that transaction.
    CompactCommitted = "compact_committed",
    /// Before a sweep removes a file that nothing points at.
    SweepRemoving = "sweep_removing",
    /// After it did.
    SweepRemoved = "sweep_removed",
    /// Before the run is recorded as ended.
    RunEnding = "run_ending",
    /// Before each file of an export is written, in a folder that is not yet under its name.
    ExportWriting = "export_writing",
    /// After all its files were synced, before the folder gets its name.
    ExportRenaming = "export_renaming",
    /// After it did, before the name is synced.
    ExportRenamed = "export_renamed",
    /// Before a file that a person asked for is written under a temporary name.
    FileWriting = "file_writing",
    /// After it was synced, before it gets its name.
    FileRenaming = "file_renaming",
    /// After it did, before the name is synced.
    FileRenamed = "file_renamed",
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Abort,
    Panic,
    Hang,
    Exhaust,
    Fail(i32),
    Sleep(u64),
}

#[derive(Debug)]
struct Armed {
    action: Action,
    /// Fires at this passage, from 1; 0 fires at each.
    at: u64,
    /// Fires at this row instead.
    row: Option<u64>,
    n_passed: AtomicU64,
}

fn armed() -> &'static BTreeMap<String, Armed> {
    static ARMED: OnceLock<BTreeMap<String, Armed>> = OnceLock::new();
    ARMED.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(text) => match parse(&text) {
            Ok(armed) => armed,
            Err(message) => {
                // A misspelt fail point would make a test pass for the wrong reason.
                tracing::error!("{VARIABLE}: {message}");
                std::process::abort();
            }
        },
        Err(_) => BTreeMap::new(),
    })
}

fn parse(text: &str) -> Result<BTreeMap<String, Armed>, String> {
    let mut armed = BTreeMap::new();
    for entry in text.split(';').filter(|entry| !entry.is_empty()) {
        let (name, rest) = entry.split_once('=').ok_or(format!("`{entry}` is not NAME=ACTION[@N]"))?;
        if !FailPoint::ALL.iter().any(|point| point.name() == name) {
            return Err(format!("there is no fail point `{name}`"));
        }
        let (action, at) = rest.split_once('@').unwrap_or((rest, "1"));
        let action = match action.split_once(':') {
            Some(("sleep", ms)) => Action::Sleep(ms.parse().map_err(|_| format!("`{ms}` is not a number"))?),
            _ => match action {
                "kill" => Action::Kill,
                "abort" => Action::Abort,
                "panic" => Action::Panic,
                "hang" => Action::Hang,
                "exhaust" => Action::Exhaust,
                "enospc" => Action::Fail(rustix::io::Errno::NOSPC.raw_os_error()),
                "eio" => Action::Fail(rustix::io::Errno::IO.raw_os_error()),
                other => return Err(format!("there is no action `{other}`")),
            },
        };
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| format!("`{digits}` is not a number"));
        let (at, row) = match at.strip_prefix('#') {
            Some(row) => (0, Some(number(row)?)),
            None => (number(at)?, None),
        };
        armed.insert(name.to_owned(), Armed { action, at, row, n_passed: AtomicU64::new(0) });
    }
    Ok(armed)
}

/// Passes a fail point that can only kill or stall.
pub fn pass(point: FailPoint) {
    if let Err(error) = try_pass(point) {
        tracing::warn!("fail point {} cannot return an error ({error}); ignored", point.name());
    }
}

/// Passes a fail point at which an operation can fail.
///
/// # Errors
/// The error with which the point was armed.
pub fn try_pass(point: FailPoint) -> io::Result<()> {
    let Some(armed) = armed().get(point.name()) else { return Ok(()) };
    let n_passed = armed.n_passed.fetch_add(1, Ordering::Relaxed) + 1;
    if armed.row.is_some() || (armed.at != 0 && armed.at != n_passed) {
        return Ok(());
    }
    fire(point, armed.action)
}

/// Passes [`FailPoint::Row`] for each of `rows`, which are positions in the shard.
pub fn pass_rows(rows: impl IntoIterator<Item = u64>) {
    let Some(armed) = armed().get(FailPoint::Row.name()) else { return };
    for row in rows {
        if armed.row == Some(row)
            || armed.row.is_none() && armed.n_passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.at
        {
            let _ = fire(FailPoint::Row, armed.action);
        }
    }
}

fn fire(point: FailPoint, action: Action) -> io::Result<()> {
    match action {
        Action::Kill => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
        Action::Abort => std::process::abort(),
        #[expect(clippy::panic, reason = "the armed action is to panic")]
        Action::Panic => panic!("fail point {}", point.name()),
        Action::Hang => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        Action::Exhaust => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 64 << 20]);
            }
        }
        Action::Fail(errno) => Err(io::Error::from_raw_os_error(errno)),
        Action::Sleep(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_counts_rows_and_rejects_mistakes() {
        let armed = parse("shard_renamed=kill@3;row=abort@#17;heartbeat_sent=sleep:50").unwrap();
        assert_eq!(armed["shard_renamed"].at, 3);
        assert_eq!(armed["row"].row, Some(17));
        assert_eq!(armed["heartbeat_sent"].action, Action::Sleep(50));
        assert!(parse("shard_renamd=kill").unwrap_err().contains("no fail point"));
        assert!(parse("row=explode").unwrap_err().contains("no action"));
        assert!(parse("row").unwrap_err().contains("NAME=ACTION"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = FailPoint::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FailPoint::ALL.len());
    }
}
