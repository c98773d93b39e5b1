//! From the keys of a `score` stage to its nodes: one for each scorer, and one that puts their columns together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, TableDecl, Work};
use polars::prelude::SchemaExt as _;
use polars::prelude::{DataType, Field, Schema};
use serde_json::json;

use super::config::{ClipText, Roles, ScoreConfig, Scorer};
use super::encoders::EncoderWork;
use super::gather::{GatherWork, Part};
use super::measure::MeasureWork;
use super::models::Models;
use super::rows::Joined;
use super::settings::ModelFacts;
use super::towers::Kind;
use crate::models::{self, ModelStore};
use crate::onnx::Library;
use crate::tables;

/// Raised when the same rows come to have other scores, or other columns.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// The id of the rows that are scored.
pub(super) const ID: &str = "candidate_id";

/// Checks `config` and compiles it.
pub(super) fn compile(
    config: &ScoreConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut issues = Vec::new();
    let scorers = scorers(config, &mut issues);
    if config.batch == 0 {
        issues.push(ConfigIssue::new("/batch", "must be at least 1"));
    }
    let needs_models = scorers.iter().any(|scorer| config.roles.folder(*scorer).is_some());
    let family = match needs_models.then(|| models::family(store, config.family.as_deref(), "/family", context)) {
        Some(Err(issue)) => {
            issues.push(issue);
            None
        }
        Some(Ok(family)) => Some(family),
        None => None,
    };
    let library = Library::find(store, context);
    let mut nodes = Vec::new();
    for scorer in &scorers {
        match node(*scorer, config, family.as_ref(), &library) {
            Ok(node) => nodes.push(node),
            Err(issue) => issues.push(issue),
        }
    }
    if !issues.is_empty() {
        return Err(issues);
    }
    nodes.push(gather(&scorers, config));
    Ok(nodes)
}

/// The scorers, in the order of [`Scorer::ALL`].
fn scorers(config: &ScoreConfig, issues: &mut Vec<ConfigIssue>) -> Vec<Scorer> {
    let written = config.scorers.as_deref();
    if written.is_some_and(<[Scorer]>::is_empty) {
        issues.push(
            ConfigIssue::new("/scorers", "names no scorer").with_help("leave it out for all of them, or name `clip`"),
        );
    }
    let mut chosen = BTreeSet::new();
    for (index, scorer) in written.unwrap_or_default().iter().enumerate() {
        let pointer = format!("/scorers/{index}");
        if !chosen.insert(*scorer) {
            issues.push(ConfigIssue::new(&pointer, format!("names `{}` a second time", scorer.part())));
        }
        if config.roles == Roles::Judge && config.roles.folder(*scorer).is_none() {
            issues.push(
                ConfigIssue::new(&pointer, format!("`{}` has no model, and so no judge", scorer.part()))
                    .with_help("judges are `clip` and `dino`; leave the rest to a stage with `roles = \"filter\"`"),
            );
        }
    }
    if written.is_none() {
        let has_judge = |scorer: &Scorer| config.roles == Roles::Filter || config.roles.folder(*scorer).is_some();
        chosen.extend(Scorer::ALL.into_iter().filter(has_judge));
    }
    chosen.into_iter().collect()
}

/// The node of `scorer`. `family` is there where a scorer has a model.
fn node(
    scorer: Scorer,
    config: &ScoreConfig,
    family: Option<&PathBuf>,
    library: &Library,
) -> Result<NodeDecl, ConfigIssue> {
    let table = table(scorer, config.roles);
    let limits = config.limits.clone();
    let model = match (config.roles.folder(scorer), family) {
        (Some(role), Some(family)) => Some((family.join(role), ModelFacts::read(&family.join(role), role, "/family")?)),
        _ => None,
    };
    let facts = model.as_ref().map(|(_, facts)| facts);
    let settings = json!({ "model": facts, "limits": config.limits });
    let mut joined = Joined { texts: false, references: true };
    let work: Work = match (scorer, model) {
        (Scorer::Clip | Scorer::Dino, Some((folder, _))) => {
            let models = Models::new(folder, library.clone(), config.batch as usize, limits);
            let kind = if scorer == Scorer::Clip { Kind::Clip } else { Kind::Dino };
            joined.texts = kind == Kind::Clip;
            Work::Rows(Arc::new(EncoderWork::new(kind, models, joined, table.clone())))
        }
        (scorer, _) => {
            joined.references = scorer == Scorer::Background;
            Work::Rows(Arc::new(MeasureWork::new(scorer, limits, joined, table.clone())))
        }
    };
    let mut reads = vec![Read::aligned(tables::CANDIDATES).with_columns([ID, "pair_id", "image"])];
    reads.extend(joined.reads());
    Ok(NodeDecl {
        part: Some(scorer.part()),
        output_version: OUTPUT_VERSION,
        settings,
        reads,
        writes: vec![table],
        bounds: Bounds::Aligned,
        work,
    })
}

/// What the node of `scorer` writes. It is not called `scores`: its rows belong to the stage alone.
fn table(scorer: Scorer, roles: Roles) -> TableDecl {
    let columns: Vec<(&str, DataType)> = match scorer {
        Scorer::Clip => vec![
            ("clip_instruction", DataType::Float32),
            ("clip_caption", DataType::Float32),
            ("clip_image", DataType::Float32),
        ],
        Scorer::Dino => vec![("dino", DataType::Float32)],
        Scorer::Background => vec![("background_similarity", DataType::Float32)],
        Scorer::Sharpness => vec![("sharpness", DataType::Float64)],
        Scorer::Phash => vec![("phash", DataType::String)],
    };
    let prefix = roles.prefix();
    let columns = columns.into_iter().map(|(name, dtype)| Field::new(format!("{prefix}{name}").into(), dtype));
    let columns = std::iter::once(Field::new(ID.into(), DataType::String)).chain(columns);
    TableDecl { name: format!("{prefix}{}_scores", scorer.part()), columns: Arc::new(Schema::from_iter(columns)) }
}

/// The last node: the columns of all of them, for the rows that the first has.
fn gather(scorers: &[Scorer], config: &ScoreConfig) -> NodeDecl {
    let tables: Vec<(Scorer, TableDecl)> =
        scorers.iter().map(|scorer| (*scorer, table(*scorer, config.roles))).collect();
    let mut columns = vec![Field::new(ID.into(), DataType::String)];
    let mut chosen = None;
    if scorers.contains(&Scorer::Clip) {
        let text = match config.clip_text {
            ClipText::Instruction => "instruction",
            ClipText::Caption => "caption",
        };
        let name = format!("{}clip", config.roles.prefix());
        columns.push(Field::new(name.as_str().into(), DataType::Float32));
        let of = format!("{name}_{text}");
        chosen = Some((name, of));
    }
    let of_parts = tables.iter().flat_map(|(_, table)| table.columns.iter_fields().skip(1));
    columns.extend(of_parts);
    let names: Vec<&str> = columns.iter().map(|field| field.name().as_str()).collect();
    let settings = json!({ "columns": names, "clip_text": chosen.is_some().then_some(config.clip_text) });
    let reads = tables.iter().map(|(scorer, table)| Read::aligned(&table.name).from_part(scorer.part())).collect();
    let parts = tables.into_iter().map(|(_, table)| Part::new(table)).collect();
    let writes = TableDecl { name: tables::SCORES.to_owned(), columns: Arc::new(Schema::from_iter(columns)) };
    NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings,
        reads,
        writes: vec![writes.clone()],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(GatherWork::new(parts, chosen, writes))),
    }
}
