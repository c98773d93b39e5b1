//! Runs nodes in tests, as the executor would run one shard of them.

pub(crate) mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cafe_pipeline::catalog::Effect;
use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{
    BatchOutcome, Bounds, Cancel, CompileContext, DuplicateRow, InputShard, NodeDecl, QuarantinedRow, Work,
    WorkContext, WorkError,
};
use cafe_pipeline::storage::{LocalStorage, Storage, write_once};
use polars::prelude::DataFrame;
use tempfile::TempDir;

use crate::models::{ModelStore, NoModel};

/// The project's own mini family, whatever is asked for but "absent".
pub(crate) struct Mini;

impl ModelStore for Mini {
    fn folder(&self, named: &str, _: ModelRole, _: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        if named == "absent" {
            return Err(NoModel { message: "there is no model absent".to_owned(), help: None });
        }
        Ok(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini/family")))
    }
}

/// A project folder with tables in it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) seed: Seed,
    storage: Arc<dyn Storage>,
    inputs: BTreeMap<String, Vec<InputShard>>,
}

/// What a node made.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// Without [`cafe_pipeline::stage::ROW`].
    pub(crate) tables: BTreeMap<String, DataFrame>,
    pub(crate) quarantined: Vec<QuarantinedRow>,
    pub(crate) duplicates: Vec<DuplicateRow>,
    pub(crate) effects: Vec<Effect>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let storage = Arc::new(LocalStorage::create(dir.path().join("data")).unwrap());
        Self { dir, seed: Seed(7), storage, inputs: BTreeMap::new() }
    }

    /// Makes `shards` the shards of `table`.
    pub(crate) fn put(&mut self, table: &str, shards: Vec<DataFrame>) {
        let shards = shards.into_iter().enumerate().map(|(index, mut rows)| {
            let bytes = frame::to_parquet(&mut rows, &[]).unwrap();
            let path = format!("{table}/{index}-{}.parquet", &Digest::of(&bytes).to_hex()[..16]);
            if self.storage.size(&path).is_err() {
                write_once(self.storage.as_ref(), &path, &bytes).unwrap();
            }
            InputShard {
                shard_id: index as i64,
                node: table.to_owned(),
                shard_index: index as u32,
                table: table.to_owned(),
                path,
                digest: Digest::of(&bytes),
                content: Digest::of(&bytes),
                n_bytes: bytes.len() as u64,
                n_rows: rows.height() as u64,
            }
        });
        let shards = shards.collect();
        self.inputs.insert(table.to_owned(), shards);
    }

    /// What a work item of `node` is given.
    pub(crate) fn context(&self) -> WorkContext {
        WorkContext {
            node: "node".to_owned(),
            shard_index: 0,
            seed: self.seed,
            storage: self.storage.clone(),
            scratch: self.dir.path().join("scratch"),
            inputs: self.inputs.clone(),
            cancel: Cancel::default(),
        }
    }

    /// Runs `node` over its listing, or over all shards of its first table, in one batch.
    pub(crate) fn run(&self, node: &NodeDecl) -> Result<Ran, WorkError> {
        let context = self.context();
        let work = match &node.work {
            Work::Whole(work) => {
                let made = work.run(&context)?;
                return Ok(Ran { tables: made.tables, effects: made.effects, ..Ran::default() });
            }
            Work::Rows(work) => work,
        };
        let rows = match &node.bounds {
            Bounds::Source(lister) | Bounds::Barrier(lister) => lister.list(&context)?,
            Bounds::Aligned | Bounds::Single => {
                let columns = work.columns();
                let columns: Option<Vec<&str>> =
                    columns.as_ref().map(|columns| columns.iter().map(String::as_str).collect());
                context.table(&node.reads[0].table, columns.as_deref())?
            }
        };
        let rows = work.prepare(&context, rows)?;
        let BatchOutcome { tables, quarantined, duplicates, .. } = work.process(&context, &rows)?;
        let tables = tables.into_iter().map(|(name, rows)| (name, rows.drop(cafe_pipeline::stage::ROW).unwrap()));
        Ok(Ran { tables: tables.collect(), quarantined, duplicates, effects: Vec::new() })
    }

    /// Runs `node`, and makes its tables inputs of the nodes after it.
    pub(crate) fn run_on(&mut self, node: &NodeDecl) -> Ran {
        let ran = self.run(node).unwrap();
        for (table, rows) in &ran.tables {
            self.put(table, vec![rows.clone()]);
        }
        ran
    }
}
