//! The keys of a `publish` stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tables;

/// A name that is safe in a path and in a URL.
pub(super) const SLUG: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

/// Keys of a `publish` stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// The name of the release; its folder is `releases/{release}-{digest}`. Default: the stage's name.
    #[serde(default)]
    #[schemars(regex(pattern = SLUG))]
    pub release: Option<String>,
    /// The table whose accepted rows are published.
    #[serde(default)]
    pub of: Subject,
    /// Whether only rows that every filter upstream accepted are published. `false` publishes all rows, and needs no
    /// filter.
    #[serde(default = "yes")]
    pub filtered: bool,
    /// Whether scores are published with the rows: `true`, `false`, or the names of the score columns.
    #[serde(default)]
    pub scores: ScoresConfig,
    /// What becomes of dialogues (y and y~), where `of` is `candidates`.
    #[serde(default)]
    pub dialogues: Dialogues,
    /// What is kept of candidates that a filter or a review rejected, once the release is out and nothing else waits for them. It
    /// changes no byte of a release. What is needed again, by a looser threshold or another scorer, is made again: so what makes
    /// candidates must make the same of the same seed, and what `import` reads must stay.
    #[serde(default)]
    pub keep_rejects: KeepRejects,
    /// The most rows in a file of the release.
    #[serde(default = "default_file_rows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub file_rows: u32,
    /// About the most bytes of pictures in a file of the release; it also bounds the memory that publishing takes.
    #[serde(default = "default_max_file_bytes")]
    #[schemars(range(min = 1))]
    pub max_file_bytes: u64,
    /// Which licences of reference images may be published. Default: all.
    #[serde(default)]
    pub licences: Option<LicencesConfig>,
    /// Whether rows whose reference has no licence are left out. With `licences.allow` they always are.
    #[serde(default)]
    pub require_licence: bool,
    /// What the dataset card says.
    #[serde(default)]
    pub card: CardConfig,
}

impl PublishConfig {
    /// Whether what is said about rows is published with them, where anything is.
    pub(super) fn speaks(&self) -> bool {
        self.of == Subject::Candidates && self.dialogues != Dialogues::Ignore
    }
}

/// A table whose rows can be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Generated images with their references and instructions.
    #[default]
    Candidates,
    /// Reference images.
    References,
    /// Reference images with instructions.
    Pairs,
}

impl Subject {
    /// The table, and those that its rows refer to: each has the id of the next.
    pub(super) fn chain(self) -> &'static [&'static str] {
        match self {
            Self::Candidates => &[tables::CANDIDATES, tables::PAIRS, tables::REFERENCES],
            Self::Pairs => &[tables::PAIRS, tables::REFERENCES],
            Self::References => &[tables::REFERENCES],
        }
    }

    /// The published table.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Candidates => tables::CANDIDATES,
            Self::Pairs => tables::PAIRS,
            Self::References => tables::REFERENCES,
        }
    }

    /// The column that names its rows.
    pub(super) fn id_column(self) -> &'static str {
        id_column(self.table())
    }
}

/// What becomes of dialogues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialogues {
    /// Where a stage upstream writes `dialogues`, a row is a candidate with one of its dialogues, and accepted candidates without
    /// any are left out. Where none does, the user says the instruction, and the assistant nothing.
    #[default]
    Auto,
    /// The same, but a stage upstream must write them.
    Require,
    /// The user says the instruction, and the assistant nothing.
    Ignore,
}

/// What is kept of rejected candidates. Accepted ones, and those without a verdict, are kept whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepRejects {
    /// All of them, whole.
    #[default]
    Image,
    /// All but their pictures, in whose place stand thumbnails.
    Thumbnail,
    /// All but their pictures: scores, verdicts, seeds.
    Scores,
}

/// The id column of a table of a chain.
pub(super) fn id_column(table: &str) -> &'static str {
    tables::id_column(table).unwrap_or("reference_id")
}

/// Which scores are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScoresConfig {
    /// All of them, or none.
    All(bool),
    /// Those in these columns.
    Named(Vec<String>),
}

impl Default for ScoresConfig {
    fn default() -> Self {
        Self::All(true)
    }
}

impl ScoresConfig {
    /// Whether any are.
    pub(super) fn any(&self) -> bool {
        match self {
            Self::All(all) => *all,
            Self::Named(names) => !names.is_empty(),
        }
    }

    /// Whether those of column `name` are.
    pub(super) fn takes(&self, name: &str) -> bool {
        match self {
            Self::All(all) => *all,
            Self::Named(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

/// Which licences may be published: one of `allow` and `deny`. Case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LicencesConfig {
    /// Only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// All but these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// What the dataset card says, besides what is known from the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardConfig {
    /// The title. Default: the release's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the data is, in Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The licence of the release as a whole, as an identifier such as `cc-by-4.0`. Default: the licence of its rows
    /// where they all have the same, else `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Languages of the texts, as codes such as `en`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How to cite the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
}

fn yes() -> bool {
    true
}

fn default_file_rows() -> u32 {
    10_000
}

fn default_max_file_bytes() -> u64 {
    256 << 20
}
