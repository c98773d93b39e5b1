//! A project in a temporary folder, whose stages are those of [`super::kinds`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::executor::{Event, Project, RunError, RunOptions, RunReport, run};
use cafe_pipeline::manifest::Manifest;
use cafe_pipeline::plan::{Sample, compile};
use cafe_pipeline::stage::Cancel;
use cafe_pipeline::storage::{LocalStorage, Storage};
use tempfile::TempDir;

use super::kinds::{Treated, registry};

/// The whole of a dataset: table, node and index of each file → digest of its bytes.
pub(crate) type Dataset = BTreeMap<(String, String, u32), Digest>;

/// The project.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) manifest: String,
    pub(crate) treated: Treated,
}

/// All four kinds, `n` rows in shards of `shard_rows`.
pub(crate) fn manifest(n: u32, shard_rows: u32, square: &str) -> String {
    format!(
        r#"
version = 1
seed = 7
[storage]
min_free_bytes = 0
[[stage]]
kind = "count"
name = "count"
n = {n}
shard_rows = {shard_rows}
[[stage]]
kind = "square"
name = "square"
needs = ["count"]
{square}
[[stage]]
kind = "even"
name = "even"
needs = ["square"]
shard_rows = {shard_rows}
[[stage]]
kind = "total"
name = "total"
needs = ["even"]
"#
    )
}

impl Lab {
    pub(crate) fn new(manifest: String) -> Self {
        Self { dir: TempDir::new().unwrap(), manifest, treated: Treated::default() }
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) async fn project(&self, storage: Arc<dyn Storage>) -> Project {
        let registry = registry(&self.treated);
        let path = self.dir.path().join("cafe.toml");
        let manifest =
            Manifest::parse(&path, &self.manifest, &registry).unwrap_or_else(|errors| panic!("{}", errors.lines()));
        let catalog = cafe_catalog::open("sqlite:cafe.db", Path::new(self.dir.path())).await.unwrap();
        let plan = compile(&manifest, &registry, &catalog.adoptions().await.unwrap()).unwrap();
        Project { plan: Arc::new(plan), catalog, storage }
    }

    pub(crate) async fn local(&self) -> Project {
        self.project(Arc::new(LocalStorage::create(self.data()).unwrap())).await
    }

    /// Runs to the end, in a process that is this one.
    pub(crate) async fn run(&self, options: RunOptions) -> RunReport {
        let project = self.local().await;
        let report = run(&project, options, Cancel::default(), Arc::new(|_| {})).await.unwrap();
        project.catalog.close().await;
        report
    }

    /// The files of the current plan, each read and checked against the catalog.
    pub(crate) async fn dataset(&self) -> Dataset {
        let project = self.local().await;
        let mut dataset = Dataset::new();
        for file in project.catalog.files().await.unwrap() {
            let bytes =
                std::fs::read(self.data().join(&file.path)).unwrap_or_else(|error| panic!("{}: {error}", file.path));
            let digest = Digest::of(&bytes);
            assert_eq!(digest, file.digest, "{} is not what was committed", file.path);
            dataset.insert((file.table, file.node, file.shard_index), digest);
        }
        project.catalog.close().await;
        dataset
    }
}

/// Runs on `project` and collects what happens.
pub(crate) async fn watch(
    project: &Project,
    options: RunOptions,
    cancel: Cancel,
) -> (Result<RunReport, RunError>, Vec<Event>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let report =
        run(project, options, cancel, Arc::new(move |event: &Event| sink.lock().unwrap().push(event.clone()))).await;
    let events = events.lock().unwrap().clone();
    (report, events)
}

pub(crate) fn options(workers: usize) -> RunOptions {
    RunOptions {
        workers,
        lease: Duration::from_secs(30),
        stage: None,
        part: None,
        sample: None,
        isolate: None,
        onlooker: None,
        version: "test".to_owned(),
        command: vec!["test".to_owned()],
    }
}

pub(crate) fn sample(n_rows: u64) -> RunOptions {
    RunOptions { sample: Some(Sample { n_rows }), ..options(1) }
}
