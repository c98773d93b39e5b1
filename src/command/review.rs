//! `review`: the list of what waits for people, and what they say.

use std::io;
use std::path::{Path, PathBuf};

use cafe_pipeline::catalog::SharedCatalog;
use cafe_pipeline::executor::Project;
use cafe_pipeline::plan::PlanNode;
use cafe_pipeline::query::QuerySource;
use cafe_pipeline::text::counted;
use cafe_stages::review::{self, KIND, Merged, Mistake, ReviewConfig, ReviewError, Sheet};
use serde::Deserialize;

use super::whole::{Turn, write};
use crate::cli::{ReviewCommand, ReviewExportArgs, ReviewImportArgs, ReviewStageArgs};
use crate::failure::Failure;
use crate::format::out;
use crate::project;

pub(super) async fn run(command: ReviewCommand) -> Result<u8, Failure> {
    match command {
        ReviewCommand::Export(args) => export(args).await,
        ReviewCommand::Import(args) => import(args).await,
    }
}

async fn export(args: ReviewExportArgs) -> Result<u8, Failure> {
    let desk = Desk::open(&args.stage).await?;
    let sheet = read(&desk.path)?;
    let (folder, name) = (args.output, desk.node.name.clone());
    let path = folder.join(review::SHEET);
    let catalog = desk.catalog;
    let exported = blocking(move || match review::export(&desk.source, &desk.node, &sheet, &folder) {
        Err(ReviewError::Dropped { shards }) => Ok(Err(shards)),
        exported => exported.map(Ok),
    });
    let exported = match exported.await? {
        Ok(exported) => exported,
        Err(shards) => return make_again(&catalog, &shards).await,
    };
    catalog.close().await;
    out(&format!("{}\n", path.display()))?;
    eprintln!("{} wait for a verdict in {name}", counted(exported.n_rows, "candidate"));
    if exported.n_without_picture > 0 {
        eprintln!("warning: {} cannot be shown", counted(exported.n_without_picture, "picture"));
    }
    Ok(0)
}

/// Has the next run make shards again of which a person needs to see the pictures.
async fn make_again(catalog: &SharedCatalog, shards: &[i64]) -> Result<u8, Failure> {
    for shard_id in shards {
        catalog.invalidate(*shard_id, "its pictures are needed for a review").await?;
    }
    catalog.close().await;
    let n_shards = counted(shards.len() as u64, "shard");
    Err(Failure::Plan(
        "pictures of candidates that wait for a verdict were not kept (`keep_rejects`)".to_owned(),
        format!("`cafe-data run` makes {n_shards} again; then export again"),
    ))
}

async fn import(args: ReviewImportArgs) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(&args.csv)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", args.csv.display()), ""))?;
    let new = Sheet::parse(&text).map_err(|mistakes| wrong(&args.csv, &mistakes))?;
    let desk = Desk::open(&args.stage).await?;
    let path = desk.path.clone();
    desk.catalog.close().await;
    let known = blocking(move || review::candidates(&desk.source, &desk.node)).await?;
    let n_unknown = new.ids().filter(|id| !known.contains(*id)).count() as u64;
    let taken = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || take(&path, new))
    };
    let merged = taken.await.map_err(|error| Failure::Internal(error.to_string()))??;
    out(&format!("{}: {} new, {} changed\n", path.display(), merged.n_new, merged.n_changed))?;
    if n_unknown > 0 {
        eprintln!("warning: {} not in this project; their verdicts are kept", counted(n_unknown, "candidate"));
    }
    Ok(0)
}

/// Merges `new` into the verdicts at `path`. Of two imports at once the second reads what the first has written: a verdict that was
/// said to be taken is never lost.
fn take(path: &Path, new: Sheet) -> Result<Merged, Failure> {
    let turn = Turn::wait(path, || {
        eprintln!("another import to {} is at work; this one goes on when that has ended", path.display());
    })?;
    let mut sheet = read(turn.path())?;
    let merged = sheet.merge(new);
    write(turn.path(), &sheet.to_csv(), "")?;
    Ok(merged)
}

/// The verdicts at `path`; none where it is not there yet.
fn read(path: &Path) -> Result<Sheet, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Sheet::parse(&text).map_err(|mistakes| wrong(path, &mistakes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sheet::default()),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", path.display()), "")),
    }
}

/// A `review` stage, where its verdicts are, and what it reads.
struct Desk {
    node: PlanNode,
    /// The CSV file of the stage.
    path: PathBuf,
    source: QuerySource,
    catalog: SharedCatalog,
}

impl Desk {
    async fn open(args: &ReviewStageArgs) -> Result<Self, Failure> {
        let manifest = &args.manifest.manifest;
        let project = project::open(manifest).await?;
        project::must_have_run(&project.catalog, manifest).await?;
        let node = stage(&project, args.stage.as_deref())?;
        let decl = project.plan.manifest.stages.iter().find(|stage| stage.name == node.stage);
        let config = decl.map(|stage| ReviewConfig::deserialize(&stage.config));
        let config = config.ok_or_else(|| Failure::Internal(format!("there is no stage {}", node.stage)))?;
        let config = config.map_err(|error| Failure::Internal(error.to_string()))?;
        let files = project.catalog.files().await?;
        let source = QuerySource::new(project.storage.root(), files).with_plan(&project.plan);
        let path = project.plan.manifest.folder().join(config.verdicts);
        Ok(Self { node, path, source, catalog: project.catalog })
    }
}

/// The stage that is meant.
fn stage(project: &Project, name: Option<&str>) -> Result<PlanNode, Failure> {
    let all = || project.plan.nodes.iter().filter(|node| node.kind == KIND);
    let names: Vec<&str> = all().map(|node| node.stage.as_str()).collect();
    match (name, names.as_slice()) {
        (_, []) => {
            Err(Failure::usage("the manifest has no stage of kind `review`", "add one whose `needs` names a filter"))
        }
        (None, [_, _, ..]) => {
            Err(Failure::usage(format!("there are several reviews: {}", names.join(", ")), "choose one with --stage"))
        }
        (name, _) => all().find(|node| name.is_none_or(|name| name == node.stage)).cloned().ok_or_else(|| {
            let name = name.unwrap_or_default();
            Failure::usage(format!("no review is called `{name}`"), format!("there is {}", names.join(", ")))
        }),
    }
}

/// All mistakes of a file, a line each.
fn wrong(path: &Path, mistakes: &[Mistake]) -> Failure {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("{}, {mistake}", path.display())).collect();
    Failure::usage(lines.join("\n"), "nothing was taken; correct these lines")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReviewError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Failure::Internal(error.to_string()))?;
    done.map_err(|error| match error {
        ReviewError::Write(..) => Failure::usage(error.to_string(), "choose another folder with -o"),
        ReviewError::Query(_) | ReviewError::Table(_) | ReviewError::Dropped { .. } => {
            Failure::Transient(error.to_string())
        }
    })
}
