//! Which programs of `command` stages the user trusts. Remembered for the user, not in the project: a project comes from
//! anywhere.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use cafe_pipeline::plan::Plan;
use cafe_stages::command::{CommandSummary, commands_of};

use crate::failure::Failure;

/// Fails when the plan runs a program that was not trusted yet; with `allow`, trusts them all from now on.
pub(crate) fn check(plan: &Plan, allow: bool) -> Result<(), Failure> {
    let nodes = plan.nodes.iter().map(|node| (node.name.as_str(), &node.decl.settings));
    let commands: Vec<CommandSummary> = commands_of(nodes).into_iter().filter(|command| !is_own(command)).collect();
    if commands.is_empty() {
        return Ok(());
    }
    let file = file()?;
    let trusted = fs::read_to_string(&file).unwrap_or_default();
    let is_trusted = |command: &&CommandSummary| trusted.lines().any(|line| line == command.digest.to_hex());
    let unknown: Vec<&CommandSummary> = commands.iter().filter(|command| !is_trusted(command)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    if allow {
        return remember(&file, &unknown);
    }
    let list: Vec<String> =
        unknown.iter().map(|command| format!("  {}: {}", command.node, command.argv.join(" "))).collect();
    Err(Failure::usage(
        format!("the manifest runs programs that were not trusted yet, with your rights:\n{}", list.join("\n")),
        "look at them, then add --allow-commands once; changed programs ask again",
    ))
}

/// Our own `measure` runs nothing else.
fn is_own(command: &CommandSummary) -> bool {
    matches!(&command.argv[..], [program, subcommand, ..] if program == "{cafe_data}" && subcommand == "measure")
}

fn remember(file: &PathBuf, commands: &[&CommandSummary]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Internal(format!("cannot write {}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut lines = OpenOptions::new().append(true).create(true).open(file).map_err(failed)?;
    for command in commands {
        writeln!(lines, "{}", command.digest.to_hex()).map_err(failed)?;
    }
    Ok(())
}

fn file() -> Result<PathBuf, Failure> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let folder = state.or_else(home).ok_or_else(|| {
        Failure::usage("neither XDG_STATE_HOME nor HOME is set, so trust cannot be remembered", "set one of them")
    })?;
    Ok(folder.join("cafe-data").join("trusted-commands"))
}
