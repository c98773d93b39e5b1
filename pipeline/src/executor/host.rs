//! Who this process is, and whether another process of this host still lives.

use std::fs;

use crate::catalog::LiveWorker;

/// This process, told apart from all others of its host.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) host: String,
    /// Boot and process-id namespace: within one of them, a process id and its start time name a process for ever.
    pub(super) boot_id: String,
    pub(super) pid: u32,
    pub(super) pid_start: u64,
}

impl Identity {
    /// Of this process.
    pub(super) fn own() -> Self {
        let pid = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot_id: format!("{}/{namespace}", boot.trim()),
            pid,
            pid_start: start_of(pid).unwrap_or_default(),
        }
    }

    /// Whether `worker` was a process beside this one and has ended. What cannot be known is `false`: then its lease
    /// runs out.
    pub(super) fn knows_gone(&self, worker: &LiveWorker) -> bool {
        let beside = worker.host == self.host && worker.boot_id == self.boot_id && worker.pid_start != 0;
        beside && fs::metadata("/proc/self").is_ok() && start_of(worker.pid) != Some(worker.pid_start)
    }
}

/// When a process started, in ticks since boot; `None` when there is none, or only its remains.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; the fields after it do not.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(identity: &Identity) -> LiveWorker {
        LiveWorker {
            worker_id: 1,
            host: identity.host.clone(),
            boot_id: identity.boot_id.clone(),
            pid: identity.pid,
            pid_start: identity.pid_start,
            plan: crate::digest::Hasher::new("test").fingerprint(),
            silent_ms: 0,
            lease_ms: 1000,
        }
    }

    #[test]
    fn a_process_that_ended_is_gone_and_this_one_is_not() {
        let own = Identity::own();
        assert!(!own.knows_gone(&worker(&own)));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = LiveWorker { pid: child.id(), pid_start: start_of(child.id()).unwrap(), ..worker(&own) };
        assert!(!own.knows_gone(&other));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.knows_gone(&other));
        assert!(own.knows_gone(&LiveWorker { pid_start: own.pid_start + 1, ..worker(&own) }), "the id was reused");
        assert!(!own.knows_gone(&LiveWorker { host: "elsewhere".to_owned(), ..other }));
    }
}
