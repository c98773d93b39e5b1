//! `import`: pairs of pictures with instructions that exist already become `references`, `pairs`, `candidates` and
//! `candidate_references`, so that they can be scored, filtered and published.
//!
//! Two nodes, as in `collect`. `scan` decodes every pair and keeps no pixels. `import` waits for all of them, brings the
//! pairs of each reference together, and copies the pixels. A reference that stands in many pairs is one row; and it
//! lies in the same shard as its candidates, because later stages join tables shard by shard.

mod config;
mod finish;
mod group;
mod list;
mod scan;
mod sides;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, CompileContext, ConfigIssue, NodeDecl, Read, StageDecl, StageKind, Work};
pub use config::{ImportConfig, ImportSource, Layout, PairColumns};
use serde_json::json;

use crate::tables;

/// Raised when the same pairs come to make other bytes.
const OUTPUT_VERSION: u32 = 1;

/// What a manifest writes, and the generator of the candidates.
const KIND: &str = "import";

/// The family of instructions that come with their pairs.
const FAMILY: &str = "import";

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportKind;

impl StageKind for ImportKind {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn about(&self) -> &'static str {
        "takes existing pairs of pictures with their instructions as candidates, from Parquet files or a folder"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(ImportConfig)
    }

    fn compile(&self, stage: &StageDecl, context: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let config: ImportConfig = stage.config()?;
        let guard = config.check(context)?;
        // Which columns are pictures is not in the listing, so the source is here, with its paths as they are written.
        let pixels = json!({
            "source": config.source,
            "layout": config.layout,
            "padding_px": config.padding_px,
            "alpha": config.alpha,
        });
        let mut scan = json!({
            "pixels": pixels,
            "class": config.class,
            "licence": config.licence,
            "source_name": config.source_name,
            "limits": config.limits,
            "splits": config.splits,
        });
        guard.add_to(&mut scan);
        let base = context.manifest_dir.to_owned();
        let config = Arc::new(config);
        let sides = || sides::Sides::new(base.clone(), &config);
        Ok(vec![
            NodeDecl {
                part: Some("scan"),
                output_version: OUTPUT_VERSION,
                settings: scan,
                reads: vec![],
                writes: vec![scan::table()],
                bounds: Bounds::Source(Arc::new(list::Pairs { base: base.clone(), config: Arc::clone(&config) })),
                work: Work::Rows(Arc::new(scan::Scan { sides: sides(), config: Arc::clone(&config), guard })),
            },
            NodeDecl {
                part: None,
                output_version: OUTPUT_VERSION,
                settings: pixels,
                reads: vec![Read::all(scan::TABLE).from_part("scan")],
                // The first table is the one whose rows are counted.
                writes: vec![
                    tables::candidates(),
                    tables::candidate_references(),
                    tables::pairs(),
                    tables::references(),
                ],
                bounds: Bounds::Barrier(Arc::new(group::ByReference(config.benchmarks.clone()))),
                work: Work::Rows(Arc::new(finish::Finish { sides: sides(), config })),
            },
        ])
    }
}
