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
    /// Template files whose prompts are kept for evaluation: never drawn, and refused where they repeat a drawn one.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// How many instructions each reference gets; no two of them are the same.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub per_reference: u32,
    /// How they are drawn.
    #[serde(default)]
    pub pairing: Pairing,
    /// The class of references that have none. Without it they are quarantined.
    #[serde(default)]
    pub class_default: Option<String>,
}

fn one() -> u32 {
    1
}

/// How instructions are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Independently for each reference, every template of its class alike: as in the CAFE paper.
    #[default]
    Random,
    /// In turn, so that within a class the counts of the families differ by at most one. Waits for all references.
    Balanced,
}
