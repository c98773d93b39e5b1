//! The keys of a `retrieve` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drawing::SamplingConfig;
use crate::source::Source;

/// Keys of a `retrieve` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrieveConfig {
    /// The model family: a folder, or a name. Default: the manifest's `model_family`, else the bundled `mini`.
    #[serde(default)]
    pub family: Option<String>,
    /// Where w comes from.
    #[serde(default)]
    pub source: SourceConfig,
    /// How many w are kept of each pair, the best first.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub keep: u32,
    /// Longest time that one pair may take; then its process is taken for hung.
    #[serde(default = "half_an_hour")]
    #[schemars(range(min = 1))]
    pub deadline_secs: u64,
}

/// Where w comes from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceConfig {
    /// The base text-to-image model draws the caption.
    Generated {
        /// Pictures drawn for each pair.
        #[serde(default = "four")]
        #[schemars(range(min = 1, max = 64))]
        tries: u32,
        /// Weight of the caption: 1 is what the model predicts.
        #[serde(default = "usual_scale")]
        #[schemars(range(min = 0.0, max = 100.0))]
        text_scale: f64,
        /// How they are drawn.
        #[serde(default)]
        sampling: SamplingConfig,
    },
    /// The pictures of a collection that CLIP finds nearest to the caption: an exact search, by a table in memory.
    Index {
        /// Where the pictures are.
        pictures: Source,
    },
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self::Generated { tries: four(), text_scale: usual_scale(), sampling: SamplingConfig::default() }
    }
}

fn one() -> u32 {
    1
}

fn four() -> u32 {
    4
}

fn usual_scale() -> f64 {
    7.5
}

pub(crate) fn half_an_hour() -> u64 {
    1800
}
