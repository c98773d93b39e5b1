//! From the path of a manifest to an open project.

use std::path::Path;
use std::sync::Arc;

use cafe_pipeline::catalog::{Adoption, SharedCatalog};
use cafe_pipeline::executor::Project;
use cafe_pipeline::manifest::Manifest;
use cafe_pipeline::plan::{Plan, compile};
use cafe_pipeline::stage::StageRegistry;
use cafe_pipeline::storage::{LocalStorage, Storage};

use crate::failure::Failure;
use crate::kinds;

/// Reads and checks a manifest.
pub(crate) fn read(path: &Path, registry: &StageRegistry) -> Result<Manifest, Failure> {
    Manifest::read(path, registry).map_err(|errors| Failure::Manifest(Box::new(errors)))
}

/// Compiles a manifest.
pub(crate) fn plan(manifest: &Manifest, registry: &StageRegistry, adoptions: &[Adoption]) -> Result<Plan, Failure> {
    compile(manifest, registry, adoptions).map_err(|issues| {
        let issues = issues.iter().map(|issue| (issue.stage, &issue.issue));
        Failure::Manifest(Box::new(manifest.from_issues(issues)))
    })
}

/// Opens the project of the manifest at `path`. Nothing is made before the whole manifest is known to be right.
pub(crate) async fn open(path: &Path) -> Result<Project, Failure> {
    let registry = kinds::registry();
    let manifest = read(path, &registry)?;
    open_manifest(&manifest, &registry).await
}

/// The same, for a manifest that was read already.
pub(crate) async fn open_manifest(manifest: &Manifest, registry: &StageRegistry) -> Result<Project, Failure> {
    let mut compiled = plan(manifest, registry, &[])?;
    let catalog = cafe_catalog::open(&manifest.catalog.url, manifest.folder()).await?;
    let adoptions = catalog.adoptions().await?;
    // Compiling reads templates and benchmarks, and asks for models: once is enough where nothing was adopted.
    if !adoptions.is_empty() {
        compiled = plan(manifest, registry, &adoptions)?;
    }
    Ok(Project { plan: Arc::new(compiled), catalog, storage: storage(manifest)? })
}

fn storage(manifest: &Manifest) -> Result<Arc<dyn Storage>, Failure> {
    let root = manifest.folder().join(&manifest.storage.root);
    let storage = LocalStorage::create(&root).map_err(|error| {
        let help = "set storage.root to a folder that can be written to".to_owned();
        Failure::Plan(format!("cannot use {} for the files: {error}", root.display()), help)
    })?;
    Ok(Arc::new(storage))
}

/// Fails for a project in which nothing was run yet.
pub(crate) async fn must_have_run(catalog: &SharedCatalog, manifest: &Path) -> Result<(), Failure> {
    if catalog.current_plan().await?.is_some() {
        return Ok(());
    }
    Err(Failure::usage(
        format!("nothing was run yet of {}", manifest.display()),
        format!("cafe-data run -m {}", manifest.display()),
    ))
}
