//! The keys of an `instruct` stage.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keys of an `instruct` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstructConfig {
    /// Template files, relative to the manifest's folder.
    #[schemars(length(min = 1))]
    pub templates: Vec<PathBuf>,
    /// Template files that are kept for evaluation: the stage refuses to run when one of their prompts is among those to
    /// draw from.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// Pairs per reference.
    #[serde(default = "default_per_reference")]
    #[schemars(range(min = 1, max = 1000))]
    pub per_reference: u32,
    /// How instructions are drawn.
    #[serde(default)]
    pub pairing: Pairing,
    /// Class of references that have none; without it, they are quarantined.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub class_default: Option<String>,
}

/// How instructions are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// For each reference independently, none twice, as in the paper.
    #[default]
    Random,
    /// Every family as often as any other within a class, and every template within a family. Waits for all references.
    Balanced,
}

fn default_per_reference() -> u32 {
    4
}
