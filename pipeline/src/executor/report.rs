//! How a run ended.

use serde::Serialize;

use crate::catalog::NodeProgress;

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "ending", content = "reason", rename_all = "snake_case")]
pub enum Ending {
    /// There is nothing left to do.
    Done,
    /// It was asked to stop.
    Interrupted,
    /// A budget is spent.
    Budget(String),
    /// The disk is full, or the catalog away: the same command goes on later.
    Transient(String),
    /// What is left waits for work that this run was not to do, or could not.
    Blocked(String),
}

impl Ending {
    /// The name stored in the catalog.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Interrupted => "interrupted",
            Self::Budget(_) => "budget",
            Self::Transient(_) => "transient",
            Self::Blocked(_) => "blocked",
        }
    }
}

/// How a run ended, and where the project stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// Why it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// Stages of which nothing works, with the reason.
    pub stopped: Vec<(String, String)>,
    /// Stages that wait for what was not there, with what that is: another run goes on with them.
    pub waiting: Vec<(String, String)>,
    /// The nodes, all processes' work included.
    pub nodes: Vec<NodeProgress>,
}

impl RunReport {
    /// Shards given up.
    #[must_use]
    pub fn n_failed(&self) -> u64 {
        self.nodes.iter().map(|node| node.n_failed).sum()
    }

    /// Rows in quarantine.
    #[must_use]
    pub fn n_quarantined(&self) -> u64 {
        self.nodes.iter().map(|node| node.rows.n_quarantined).sum()
    }

    /// Shards still to be made.
    #[must_use]
    pub fn n_pending(&self) -> u64 {
        self.nodes.iter().map(|node| node.n_pending + node.n_running).sum()
    }

    /// What the process exits with: 0 done; 4 with quarantined or failed items; 6 budget; 75 run it again; 130
    /// interrupted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.ending {
            Ending::Interrupted => 130,
            Ending::Budget(_) => 6,
            Ending::Transient(_) => 75,
            _ if !self.stopped.is_empty() || self.n_failed() > 0 => 4,
            Ending::Blocked(_) => 75,
            Ending::Done if !self.waiting.is_empty() => 75,
            Ending::Done if self.n_quarantined() > 0 => 4,
            Ending::Done => 0,
        }
    }
}
