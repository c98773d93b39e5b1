//! What a plan would execute on this machine: shown to the user, who must trust it once.

use std::collections::BTreeMap;

use cafe_pipeline::digest::{Digest, Hasher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key of a node's settings under which a command stands.
pub(super) const KEY: &str = "command";

/// What a node executes, as it stands in its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) files: BTreeMap<String, Digest>,
}

/// A program that a node of the plan executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandSummary {
    /// The node's name.
    pub node: String,
    /// The program and its arguments, placeholders not filled in.
    pub argv: Vec<String>,
    /// Names of the environment variables that it is given.
    pub env: Vec<String>,
    /// The user's files that it consists of.
    pub files: BTreeMap<String, Digest>,
    /// Digest of all of it but the node's name: what trust is remembered by. Other arguments, variables or contents of
    /// files are other commands.
    pub digest: Digest,
}

/// The programs that a plan executes. `nodes` are the nodes' names and settings (`NodeDecl::settings`); those of other
/// kinds are passed over.
pub fn commands_of<'a>(nodes: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Vec<CommandSummary> {
    let summary = |(node, settings): (&str, &Value)| {
        let command = settings.get(KEY)?;
        let digest = argv_digest(settings)?;
        let Command { argv, env, files } = Command::deserialize(command).ok()?;
        Some(CommandSummary { node: node.to_owned(), argv, env, files, digest })
    };
    nodes.into_iter().filter_map(summary).collect()
}

/// What trust in the command of a node with these settings is remembered by; `None` when it has none.
#[must_use]
pub fn argv_digest(settings: &Value) -> Option<Digest> {
    Some(Hasher::new("command/v1").json("command", settings.get(KEY)?).digest())
}

/// What trust in all of a plan's commands together is remembered by; their order does not matter.
#[must_use]
pub fn trust_digest(commands: &[CommandSummary]) -> Digest {
    let mut digests: Vec<Digest> = commands.iter().map(|command| command.digest).collect();
    digests.sort();
    digests.dedup();
    digests
        .iter()
        .fold(Hasher::new("commands/v1"), |hasher, digest| hasher.bytes("command", digest.as_bytes()))
        .digest()
}
