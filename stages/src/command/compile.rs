//! From the keys of a `command` stage to its node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, FanOut, NodeDecl, Read, Work};
use serde_json::{Value, json};

use super::argv::{Argument, PLACEHOLDERS};
use super::candidates::Derive;
use super::config::{CommandConfig, FanOutConfig, Mode};
use super::contract::Contract;
use super::pool::Pool;
use super::serve::Patience;
use super::summary::{Command, KEY};
use super::work::CommandWork;
use super::written::written;
use crate::join::Join;
use crate::{measure, tables};

/// Raised when the same program and rows come to make other bytes.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(config: CommandConfig, context: &CompileContext<'_>) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    let argv = arguments(&config, context, &mut issues);
    let id_column = id_column(&config, &mut issues);
    let written = written(&config, id_column.as_deref(), &mut issues);
    let joins = joins(&config, &mut issues);
    let files = files(&config, context, &mut issues);
    check_env(&config, &mut issues);
    let workdir = if context.manifest_dir.as_os_str().is_empty() { Path::new(".") } else { context.manifest_dir };
    let workdir = std::path::absolute(workdir)
        .map_err(|error| issues.push(ConfigIssue::new("", format!("cannot resolve the manifest's folder: {error}"))));
    let (Some(id_column), Some(written), Ok(workdir), true) = (id_column, written, workdir, issues.is_empty()) else {
        return Err(issues);
    };

    let settings = settings(&config, &id_column, &argv, files, context);
    let settings_digest = Hasher::new("command-settings/v1").json("settings", &settings).row_id();
    let derive = (written.name == tables::CANDIDATES).then_some(Derive { settings_digest });
    let fan_out = match config.fan_out {
        FanOutConfig::One => FanOut::One,
        FanOutConfig::Many => FanOut::Many,
    };
    let columns = config.columns.as_ref().map(|columns| {
        let keys = joins.iter().map(|join| &join.key);
        let mut seen = BTreeSet::new();
        [&id_column].into_iter().chain(columns).chain(keys).filter(|name| seen.insert(*name)).cloned().collect()
    });
    let default_rows = if config.mode == Mode::Oneshot { 256 } else { 16 };
    let mut reads = vec![Read::aligned(&config.reads)];
    reads.extend(joins.iter().map(|join| Read::aligned(&join.table)));
    let work = CommandWork {
        argv,
        mode: config.mode,
        contract: Contract { id_column, written: written.clone(), fan_out, derive },
        columns,
        joins,
        batch_rows: config.batch_rows.unwrap_or(default_rows).max(1) as usize,
        patience: Patience {
            start: Duration::from_secs(config.start_secs),
            deadline: Duration::from_secs(config.deadline_secs),
            heartbeat: Duration::from_secs(config.heartbeat_secs),
        },
        row_deadline: config.row_deadline_secs.map(Duration::from_secs),
        env: config.env,
        journal: config.journal,
        workdir,
        model_family: context.model_family.unwrap_or_default().to_owned(),
        pool: Pool::default(),
        n_batches: AtomicU64::new(0),
    };
    Ok(NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings,
        reads,
        writes: vec![written],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(work)),
    })
}

/// Deadlines, batch size and journal are left out: by the contract they change no row.
fn settings(
    config: &CommandConfig,
    id_column: &str,
    argv: &[Argument],
    files: BTreeMap<String, Digest>,
    context: &CompileContext<'_>,
) -> Value {
    let command = Command { argv: config.argv.clone(), env: sorted(&config.env), files };
    let used: BTreeSet<&str> = argv.iter().flat_map(Argument::placeholders).collect();
    json!({
        KEY: command,
        "version": config.version,
        "reads": config.reads,
        "id_column": id_column,
        "columns": config.columns,
        "join": config.join,
        "writes": config.writes,
        "output": config.output,
        "fan_out": config.fan_out,
        "model_family": used.contains("model_family").then_some(context.model_family),
        // Our own programs have a version of their own.
        "measure": used.contains("cafe_data").then_some(measure::OUTPUT_VERSION),
    })
}

fn sorted(names: &[String]) -> Vec<String> {
    names.iter().cloned().collect::<BTreeSet<String>>().into_iter().collect()
}

fn arguments(config: &CommandConfig, context: &CompileContext<'_>, issues: &mut Vec<ConfigIssue>) -> Vec<Argument> {
    if config.argv.first().is_none_or(String::is_empty) {
        issues.push(
            ConfigIssue::new("/argv", "names no program")
                .with_help(r#"for example argv = ["python3", "my.py", "{input}", "{output}"]"#),
        );
    }
    let mut argv = Vec::new();
    for (index, text) in config.argv.iter().enumerate() {
        let pointer = format!("/argv/{index}");
        if text.contains('\0') {
            issues.push(ConfigIssue::new(&pointer, "contains a NUL character, which no argument can"));
        }
        match Argument::parse(text) {
            Ok(argument) => argv.push(argument),
            Err(message) => {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                let help = format!("placeholders are {known}; write {{{{ and }}}} for braces");
                issues.push(ConfigIssue::new(&pointer, message).with_help(help));
            }
        }
    }
    let used: BTreeSet<&str> = argv.iter().flat_map(Argument::placeholders).collect();
    let per_batch = used.intersection(&BTreeSet::from(["input", "output", "shard"])).next().copied();
    if let (Mode::Serve, Some(name)) = (config.mode, per_batch) {
        issues.push(
            ConfigIssue::new("/argv", format!("`{{{name}}}` differs by batch, but a `serve` program is started once"))
                .with_help("leave it out: requests on stdin name input and output"),
        );
    }
    if used.contains("model_family") && context.model_family.is_none() {
        issues.push(
            ConfigIssue::new("/argv", "`{model_family}` is used, but the manifest names no model family")
                .with_help("add `model_family = \"…\"` at the top of the manifest"),
        );
    }
    argv
}

fn id_column(config: &CommandConfig, issues: &mut Vec<ConfigIssue>) -> Option<String> {
    let known = tables::id_column(&config.reads);
    match (&config.id_column, known) {
        (Some(name), Some(known)) if name != known => {
            let message = format!("rows of `{}` are named by `{known}`", config.reads);
            issues.push(ConfigIssue::new("/id_column", message).with_help("leave `id_column` out"));
            None
        }
        (Some(name), _) => Some(name.clone()),
        (None, Some(known)) => Some(known.to_owned()),
        (None, None) => {
            issues.push(
                ConfigIssue::new("/reads", format!("which column names a row of `{}` is not known", config.reads))
                    .with_help("add `id_column = \"…\"`"),
            );
            None
        }
    }
}

fn joins(config: &CommandConfig, issues: &mut Vec<ConfigIssue>) -> Vec<Join> {
    let mut joins = Vec::new();
    for (table, columns) in &config.join {
        let pointer = format!("/join/{table}");
        let Some(key) = tables::id_column(table) else {
            let help = "joined can be references, pairs and candidates";
            issues.push(ConfigIssue::new(pointer, format!("`{table}` has no id column to join by")).with_help(help));
            continue;
        };
        if *table == config.reads {
            issues.push(
                ConfigIssue::new(pointer, format!("`{table}` is what the stage reads"))
                    .with_help("list its columns in `columns`"),
            );
            continue;
        }
        joins.push(Join::new(table, key, columns));
    }
    joins
}

fn check_env(config: &CommandConfig, issues: &mut Vec<ConfigIssue>) {
    for (index, name) in config.env.iter().enumerate() {
        let pointer = format!("/env/{index}");
        if name.contains('=') {
            issues.push(
                ConfigIssue::new(pointer, "looks like a value: only names belong into a manifest")
                    .with_help("write the name, and set the variable where cafe-data is started"),
            );
        } else if name.is_empty() || name.contains('\0') {
            issues.push(ConfigIssue::new(pointer, "is not the name of a variable"));
        }
    }
}

/// Digests of the files that make up the program: those declared, and those that `argv` names.
fn files(
    config: &CommandConfig,
    context: &CompileContext<'_>,
    issues: &mut Vec<ConfigIssue>,
) -> BTreeMap<String, Digest> {
    let mut digests = BTreeMap::new();
    let named = config.argv.iter().map(PathBuf::from).filter(|path| path.is_relative());
    // A bare program name is looked up in PATH, not in the folder.
    let named = named.filter(|path| config.argv.first().map(Path::new) != Some(path) || path.components().count() > 1);
    for path in named.filter(|path| context.resolve(path).is_file()) {
        if let Ok(digest) = digest_of(&context.resolve(&path)) {
            digests.insert(path.display().to_string(), digest);
        }
    }
    for (index, path) in config.files.iter().enumerate() {
        match digest_of(&context.resolve(path)) {
            Ok(digest) => {
                digests.insert(path.display().to_string(), digest);
            }
            Err(error) => issues.push(
                ConfigIssue::new(
                    format!("/files/{index}"),
                    format!("cannot read {}: {error}", context.resolve(path).display()),
                )
                .with_help("paths are relative to the manifest's folder"),
            ),
        }
    }
    digests
}

fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().into())
}
