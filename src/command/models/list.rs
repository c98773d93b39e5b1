//! `models list`: the models that are known by name, and where they are.

use cafe_pipeline::manifest::ModelSource;
use serde_json::{Value, json};

use crate::cli::ModelsListArgs;
use crate::failure::Failure;
use crate::format::{Align, bytes, json as print_json, out, table};
use crate::models::cache::{Cache, Place};
use crate::models::{Model, Registry};

pub(super) fn run(args: &ModelsListArgs) -> Result<u8, Failure> {
    let registry = Registry::open(args.registry.manifest.as_deref())?;
    let cache = Cache::open(args.registry.cache.as_deref())?;
    if args.json {
        let models: Vec<Value> = registry.all().map(|model| as_json(model, &cache.place(model))).collect();
        print_json(&models)?;
        return Ok(0);
    }
    let headers = [
        ("name", Align::Left),
        ("role", Align::Left),
        ("family", Align::Left),
        ("licence", Align::Left),
        ("source", Align::Left),
        ("state", Align::Left),
    ];
    let rows = registry.all().map(|model| {
        let decl = &model.decl;
        let sources: Vec<String> = decl.sources.iter().map(source).collect();
        vec![
            model.name.clone(),
            decl.role.name().to_owned(),
            decl.family.clone().unwrap_or_default(),
            decl.licence.clone().unwrap_or_default(),
            sources.join(", or "),
            state(model, &cache.place(model)),
        ]
    });
    out(&table(&headers, &rows.collect::<Vec<_>>()))?;
    Ok(0)
}

fn source(source: &ModelSource) -> String {
    match source {
        ModelSource::Path { path } => format!("folder {}", path.display()),
        ModelSource::Hub { repository, revision, .. } => format!("hub {repository}@{revision}"),
        ModelSource::Wheel { package, version, .. } => format!("wheel {package}=={version}"),
    }
}

fn state(model: &Model, place: &Place) -> String {
    match place {
        Place::Own(folder) => format!("in {}", folder.display()),
        Place::Fetched(folder) => format!("fetched: {}", folder.display()),
        Place::Partly(n_bytes) => format!("partly fetched: {}", bytes(*n_bytes)),
        Place::Absent if model.unpinned().next().is_some() => "not fetched, not pinned".to_owned(),
        Place::Absent => "not fetched".to_owned(),
    }
}

fn as_json(model: &Model, place: &Place) -> Value {
    let decl = &model.decl;
    let state = match place {
        Place::Own(_) => "folder",
        Place::Fetched(_) => "fetched",
        Place::Partly(_) => "partly",
        Place::Absent => "absent",
    };
    json!({
        "name": model.name,
        "role": decl.role,
        "about": decl.about,
        "family": decl.family,
        "licence": decl.licence,
        "sources": decl.sources,
        "files": decl.files,
        "is_pinned": model.unpinned().next().is_none(),
        "is_built_in": model.folder.is_none(),
        "state": state,
        "folder": place.folder(),
    })
}
