//! Long-lived programs of a stage: as many as there are batches at once, each with its model loaded.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cafe_pipeline::stage::WorkError;

use super::serve::Server;

/// What a server was started as, and the server.
type Idle = (Vec<String>, Server);

/// Servers that wait for work.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

impl Pool {
    /// A server that waits and `fits`; those that died while they waited are dropped.
    pub(super) fn take(&self, fits: impl Fn(&Idle) -> bool) -> Option<Idle> {
        let mut dead = Vec::new();
        let found = {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut at = 0;
            while let Some((_, server)) = idle.get(at) {
                if server.is_alive() {
                    at += 1;
                } else {
                    dead.push(idle.swap_remove(at));
                }
            }
            idle.iter().position(fits).map(|at| idle.swap_remove(at))
        };
        // Outside the lock: a farewell takes its time.
        drop(dead);
        found
    }

    /// Gives a server back; a dead one is dropped.
    pub(super) fn put(&self, key: Vec<String>, server: Server) {
        if server.is_alive() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((key, server));
        }
    }
}

/// A temporary folder for a server, which outlives the attempts that it works for. Removed when dropped.
pub(super) struct Home(PathBuf);

impl Home {
    /// A new, empty folder.
    pub(super) fn create() -> Result<Self, WorkError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let home = env::temp_dir().join(format!("cafe-data-serve-{}-{count}", process::id()));
            match fs::create_dir(&home) {
                Ok(()) => return Ok(Self(home)),
                // Left by a killed process that had the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(WorkError::io(home.display(), &error)),
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
