//! The keys of a `review` stage.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keys of a `review` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewConfig {
    /// The CSV file of verdicts, relative to the manifest. Where it is not there yet, nothing is reviewed yet.
    #[serde(default = "verdicts")]
    pub verdicts: PathBuf,
    /// What becomes of a candidate that nobody has reviewed.
    #[serde(default)]
    pub unreviewed: Unreviewed,
    /// When a candidate that several people have reviewed is accepted.
    #[serde(default)]
    pub agreement: Agreement,
}

fn verdicts() -> PathBuf {
    PathBuf::from("verdicts.csv")
}

/// What becomes of a candidate that nobody has reviewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unreviewed {
    /// The stage waits; the run ends with 75.
    #[default]
    Wait,
    /// It is accepted.
    Accept,
    /// It is rejected.
    Reject,
}

/// When a candidate that several people have reviewed is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// More of them accept it than reject it.
    #[default]
    Majority,
    /// All of them accept it.
    All,
    /// One of them accepts it.
    Any,
}

impl Agreement {
    /// What stands as `thresholds` beside the verdicts.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Majority => "review: most people accept",
            Self::All => "review: all people accept",
            Self::Any => "review: one person accepts",
        }
    }

    /// Whether `n_accept` of `n` make it accepted. There is at least one.
    pub(super) fn holds(self, n_accept: usize, n: usize) -> bool {
        match self {
            Self::Majority => n_accept * 2 > n,
            Self::All => n_accept == n,
            Self::Any => n_accept > 0,
        }
    }
}
