//! `models verify`: whether models are what they should be, and can be used.

use std::path::Path;

use cafe_engine::EngineError;
use cafe_engine::verify::{Check, FAMILY, ModelKind, verify_in_family, verify_model};
use cafe_pipeline::digest::Seed;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{Cancel, CompileContext};
use cafe_stages::detect;
use serde_json::{Value, json};

use super::INTERRUPTED;
use crate::cli::ModelsVerifyArgs;
use crate::failure::Failure;
use crate::format::{Align, json as print_json, out, table};
use crate::models::cache::{Cache, Place};
use crate::models::fetch::Stop;
use crate::models::record::Record;
use crate::models::resolve::Installed;
use crate::models::{Model, Registry, check, resolve};
use crate::progress::steps;

/// Something was wrong with a model.
const FAILED: u8 = 4;

/// What was tried of a model, and what came of it.
struct Row {
    model: String,
    what: &'static str,
    result: Outcome,
    said: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Failed,
    Absent,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Absent => "absent",
        }
    }
}

pub(super) fn run(args: &ModelsVerifyArgs, cancel: &Cancel) -> Result<u8, Failure> {
    let rows = match &args.family {
        Some(family) => family_rows(None, &resolve::folder(family, ModelRole::Family)?, cancel),
        None => named(args, cancel),
    };
    let rows = match rows {
        Ok(rows) => rows,
        Err(Stop::Stopped) => return Ok(INTERRUPTED),
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    if args.json {
        let rows: Vec<Value> = rows.iter().map(as_json).collect();
        print_json(&rows)?;
    } else {
        let headers = [("model", Align::Left), ("check", Align::Left), ("result", Align::Left), ("", Align::Left)];
        let row =
            |row: &Row| vec![row.model.clone(), row.what.to_owned(), row.result.name().to_owned(), row.said.clone()];
        out(&table(&headers, &rows.iter().map(row).collect::<Vec<_>>()))?;
    }
    Ok(if rows.iter().any(|row| row.result == Outcome::Failed) { FAILED } else { 0 })
}

fn as_json(row: &Row) -> Value {
    json!({ "model": row.model, "check": row.what, "result": row.result.name(), "said": row.said })
}

/// The models that are named, or all that are there.
fn named(args: &ModelsVerifyArgs, cancel: &Cancel) -> Result<Vec<Row>, Stop> {
    let registry = Registry::open(args.registry.manifest.as_deref())?;
    let cache = Cache::open(args.registry.cache.as_deref())?;
    let models: Vec<&Model> = if args.names.is_empty() {
        registry.all().filter(|model| cache.place(model).folder().is_some()).collect()
    } else {
        args.names.iter().map(|name| registry.get(name)).collect::<Result<_, _>>()?
    };
    if models.is_empty() {
        let help = "fetch one first: `cafe-data models list` knows them; --family looks at a folder";
        return Err(Failure::usage("no model was fetched yet", help).into());
    }
    let mut rows = Vec::new();
    for model in models {
        rows.extend(model_rows(model, &cache.place(model), cancel)?);
    }
    Ok(rows)
}

fn model_rows(model: &Model, place: &Place, cancel: &Cancel) -> Result<Vec<Row>, Stop> {
    let name = &model.name;
    let Some(folder) = place.folder() else {
        let said = format!("was not fetched: run `cafe-data models fetch {name}`");
        return Ok(vec![Row { model: name.clone(), what: "digests", result: Outcome::Failed, said }]);
    };
    let shown = steps(&format!("{name}: reading its files"));
    let mut digests = check::digests(&model.decl, folder, cancel)?;
    if let (Err(said), Place::Fetched(_)) = (&mut digests.outcome, place) {
        // Nobody shall use it; whoever wants it fetches it.
        let failed = |error| Failure::from(EngineError::Io { path: folder.to_owned(), source: error });
        Record::remove(folder).map_err(failed)?;
        said.push_str("; the next fetch brings it again");
    }
    // What is not what was pinned is not loaded.
    if digests.outcome.is_err() {
        return Ok(vec![row(name, digests)]);
    }
    shown.say(format!("{name}: running it"));
    let mut rows = vec![row(name, digests)];
    rows.extend(check::dims(&model.decl, folder).map(|check| row(name, check)));
    match (kind(model.decl.role), model.decl.role) {
        (Some(kind), _) => rows.extend(verify_model(kind, folder).into_iter().map(|check| row(name, check))),
        (None, ModelRole::Family) => rows.extend(family_rows(Some(name), folder, cancel)?),
        (None, ModelRole::Detector) => rows.push(row(name, detects(folder))),
        (None, _) => {}
    }
    Ok(rows)
}

/// A detector is a graph that the stages run, and not the engine.
fn detects(folder: &Path) -> Check {
    let context = CompileContext::new(Path::new("."), Seed(0));
    Check { what: "detect", outcome: detect::verify(folder, &Installed, &context) }
}

/// Each role of a family.
fn family_rows(name: Option<&str>, folder: &Path, cancel: &Cancel) -> Result<Vec<Row>, Stop> {
    let shown = steps("family");
    let (mut rows, mut n_models) = (Vec::new(), 0);
    for (at, (role, kind)) in FAMILY.into_iter().enumerate() {
        if cancel.is_cancelled() {
            return Err(Stop::Stopped);
        }
        shown.say(format!("{role}: running it"));
        shown.at(at, FAMILY.len());
        let model = name.map_or_else(|| role.to_owned(), |name| format!("{name}/{role}"));
        if folder.join(role).is_dir() {
            n_models += 1;
            let checks = verify_in_family(folder, role, kind).map_err(Failure::from)?;
            rows.extend(checks.into_iter().map(|check| row(&model, check)));
        } else {
            rows.push(Row { model, what: "", result: Outcome::Absent, said: String::new() });
        }
    }
    if n_models == 0 {
        let message = format!("{} has no folder of any role of a family", folder.display());
        let roles: Vec<&str> = FAMILY.iter().map(|(role, _)| *role).collect();
        return Err(Failure::usage(message, format!("roles are {}", roles.join(", "))).into());
    }
    Ok(rows)
}

fn row(model: &str, check: Check) -> Row {
    let (result, said) = match check.outcome {
        Ok(said) => (Outcome::Ok, said),
        Err(said) => (Outcome::Failed, said),
    };
    Row { model: model.to_owned(), what: check.what, result, said }
}

fn kind(role: ModelRole) -> Option<ModelKind> {
    Some(match role {
        ModelRole::ClipFilter | ModelRole::ClipJudge => ModelKind::Clip,
        ModelRole::DinoFilter | ModelRole::DinoJudge => ModelKind::Dino,
        ModelRole::ClipCondition => ModelKind::ClipImage,
        ModelRole::DinoCondition => ModelKind::Dinov2,
        ModelRole::TextToImage => ModelKind::TextToImage,
        ModelRole::Promptnet => ModelKind::PromptNet,
        ModelRole::CafeUnet => ModelKind::CafeUNet,
        ModelRole::Mllm => ModelKind::Mllm,
        ModelRole::Llm => ModelKind::Language,
        ModelRole::Family | ModelRole::Detector | ModelRole::Library => return None,
    })
}
