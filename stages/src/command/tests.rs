//! The stage with real programs: shells that behave, misbehave, hang, flood, die and spawn.

mod oneshot;
mod output;
mod serve;
mod settings;

use std::path::Path;
use std::sync::Arc;

use cafe_pipeline::digest::Seed;
use cafe_pipeline::frame;
use cafe_pipeline::stage::{
    BatchOutcome, Cancel, CompileContext, ConfigIssue, NodeDecl, RowWork, StageDecl, StageKind, Work, WorkContext,
    WorkError,
};
use cafe_pipeline::storage::LocalStorage;
use polars::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::CommandKind;

/// A project folder with a `command` stage in it.
struct Project {
    dir: TempDir,
    cancel: Cancel,
}

impl Project {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), cancel: Cancel::default() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn compile(&self, config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
        compile(self.dir.path(), config)
    }

    fn work(&self, config: Value) -> Arc<dyn RowWork> {
        match self.compile(config).unwrap().work {
            Work::Rows(work) => work,
            Work::Whole(_) => panic!("a command works row by row"),
        }
    }

    fn context(&self) -> WorkContext {
        WorkContext {
            node: "measure".to_owned(),
            shard_index: 3,
            seed: Seed(7),
            storage: Arc::new(LocalStorage::create(self.path("data")).unwrap()),
            scratch: self.path("scratch"),
            inputs: [].into(),
            cancel: self.cancel.clone(),
        }
    }

    /// Runs `script` on two rows.
    fn sh(&self, script: &str, more: Value) -> Result<BatchOutcome, WorkError> {
        self.work(sh(script, more)).process(&self.context(), &rows(&["a", "b"]))
    }

    /// Prepares the file that a script copies as its output.
    fn prepare(&self, name: &str, columns: Vec<Column>) {
        let mut rows = DataFrame::new_infer_height(columns).unwrap();
        std::fs::write(self.path(name), frame::to_parquet(&mut rows, &[]).unwrap()).unwrap();
    }
}

fn compile(dir: &Path, config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let context = CompileContext::new(dir, Seed(7));
    let stage = StageDecl { name: "measure".to_owned(), config };
    CommandKind.compile(&stage, &context).map(|mut nodes| nodes.remove(0))
}

/// A configuration that runs `script`, with input and output as `$1` and `$2` in oneshot mode.
fn sh(script: &str, more: Value) -> Value {
    let mut config = json!({
        "argv": ["/bin/sh", "-c", script.replace('{', "{{").replace('}', "}}"), "sh", "{input}", "{output}"],
        "reads": "references",
        "writes": "scores",
        "output": { "score": "float64" },
    });
    if more.get("mode") == Some(&json!("serve")) {
        config["argv"].as_array_mut().unwrap().truncate(3);
    }
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn rows(ids: &[&str]) -> DataFrame {
    DataFrame::new_infer_height(vec![ids_of(ids)]).unwrap()
}

fn ids_of(ids: &[&str]) -> Column {
    Column::new("reference_id".into(), ids)
}

fn scores(values: &[f64]) -> Column {
    Column::new("score".into(), values)
}
