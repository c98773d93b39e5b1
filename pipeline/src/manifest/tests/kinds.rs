//! Stage kinds with the forms of configuration that real kinds have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind, StageRegistry};

/// Gathers files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
struct Gather {
    /// Folder to walk, relative to the manifest.
    root: PathBuf,
    /// What is in it.
    source: Source,
    /// Stop after so many files.
    #[serde(default)]
    limit: Option<u16>,
    /// What to do with files that stand twice.
    #[serde(default)]
    duplicates: Option<Duplicates>,
    /// Any labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// How large the pictures become.
    #[serde(default)]
    resize: Option<Resize>,
    /// Follow links.
    #[serde(default)]
    follow: bool,
}

/// Chosen by `type`.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
enum Source {
    /// Pictures in folders.
    Folder {
        /// File names, as a pattern.
        #[serde(default)]
        pattern: Option<String>,
    },
    /// Tar files.
    Tar {
        /// The files.
        #[schemars(length(min = 1))]
        files: Vec<String>,
    },
}

/// Chosen by the key; one choice is a word.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only read by serde")]
enum Resize {
    Never,
    Exact(u32),
    Within { width_px: u32, height_px: u32 },
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Duplicates {
    /// Keep the first.
    First,
    /// Keep all.
    Keep,
}

/// Sieves rows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
struct Sieve {
    /// All must hold.
    #[schemars(length(min = 1))]
    rules: Vec<Rule>,
    /// How sure to be.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    confidence: Option<f32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
struct Rule {
    /// The column.
    column: String,
    /// Smallest value.
    #[serde(default)]
    min: Option<f64>,
    /// What it must be.
    #[serde(default)]
    is: Option<Is>,
}

/// A text, or bounds.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only read by serde")]
enum Is {
    Text(String),
    Bounds(Bounds),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
struct Bounds {
    from: f64,
    to: f64,
}

/// A kind that is an enum as a whole.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
enum Mend {
    /// By a program.
    Program {
        /// Program and arguments.
        argv: Vec<String>,
        /// A rule.
        #[serde(default)]
        rule: Option<MendRule>,
    },
    /// By hand.
    Hand {
        /// Who.
        who: String,
    },
}

/// Has the same name in the schema as the other one.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Rule")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
struct MendRule {
    depth: u8,
}

struct Kind<T>(&'static str, &'static str, std::marker::PhantomData<fn() -> T>);

impl<T: JsonSchema> StageKind for Kind<T> {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        self.1
    }

    fn config_schema(&self) -> schemars::Schema {
        schema_for!(T)
    }

    fn compile(&self, _: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Err(vec![ConfigIssue::new("", "only for tests of the manifest")])
    }
}

/// All of them.
pub(super) fn registry() -> StageRegistry {
    StageRegistry::default()
        .with(Kind::<Gather>("gather", "Gathers files.", std::marker::PhantomData))
        .with(Kind::<Sieve>("sieve", "Sieves rows.", std::marker::PhantomData))
        .with(Kind::<Mend>("mend", "Mends rows.", std::marker::PhantomData))
}
