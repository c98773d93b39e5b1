//! `collect`: pictures from folders, WebDataset tars and Parquet files become `references`, each picture once.
//!
//! Two nodes. `scan` decodes every picture and knows it by its pixels; it keeps no bytes. `collect` waits for all of
//! them, says which stand twice, and copies the bytes of the others. A row of its listing decides its result, so that
//! a picture that is added makes one shard, not all of them.

mod config;
mod finish;
mod scan;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, StageDecl, StageKind, Work};
pub use config::{CollectConfig, Splits};
use serde_json::json;

use crate::source::{Reader, Source};
use crate::tables;

/// Raised when the same pictures come to make other bytes.
const OUTPUT_VERSION: u32 = 1;

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct CollectKind;

impl StageKind for CollectKind {
    fn kind(&self) -> &'static str {
        "collect"
    }

    fn about(&self) -> &'static str {
        "gathers reference pictures from folders, WebDataset tars or Parquet files, each picture once"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(CollectConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let config: CollectConfig = stage.config()?;
        let guard = config.check(context)?;
        let reader = Reader::new(context.manifest_dir.to_owned(), config.source.clone());
        // Where pictures come from is not here: the listing says what was found, wherever that is.
        let kind = match config.source {
            Source::Folder { .. } => "folder",
            Source::Webdataset { .. } => "webdataset",
            Source::Parquet { .. } => "parquet",
        };
        let mut scan = json!({
            "source": kind,
            "class": config.class,
            "licence": config.licence,
            "source_name": config.source_name,
            "alpha": config.alpha,
            "limits": config.limits,
            "splits": config.splits,
        });
        guard.add_to(&mut scan);
        let finish = json!({ "alpha": config.alpha });
        let config = Arc::new(config);
        Ok(vec![
            NodeDecl {
                part: Some("scan"),
                output_version: OUTPUT_VERSION,
                settings: scan,
                reads: vec![],
                writes: vec![scan::table()],
                bounds: Bounds::Source(Arc::new(scan::Pictures(reader.clone()))),
                work: Work::Rows(Arc::new(scan::Scan { reader: reader.clone(), config: Arc::clone(&config), guard })),
            },
            NodeDecl {
                part: None,
                output_version: OUTPUT_VERSION,
                settings: finish,
                reads: vec![Read::all(scan::TABLE).from_part("scan")],
                writes: vec![tables::references()],
                bounds: Bounds::Barrier(Arc::new(finish::Once(config.benchmarks.clone()))),
                work: Work::Rows(Arc::new(finish::Finish { reader, config })),
            },
        ])
    }
}
