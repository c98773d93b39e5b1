//! The stage in a manifest: from text to plan.

use std::sync::Arc;

use cafe_pipeline::manifest::Manifest;
use cafe_pipeline::plan;
use cafe_pipeline::stage::{
    BatchOutcome, Bounds, Lister, Read, RowWork, StageRegistry, TableDecl, Work, WorkContext, WorkError,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::tables;

/// Declares tables; never runs.
struct Declare;

/// `writes` of a [`Declare`] stage.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeclareConfig {
    writes: String,
}

impl Lister for Declare {
    fn list(&self, _: &WorkContext) -> Result<DataFrame, WorkError> {
        Ok(DataFrame::empty())
    }
}

impl RowWork for Declare {
    fn row_id(&self) -> &str {
        "reference_id"
    }

    fn process(&self, _: &WorkContext, _: &DataFrame) -> Result<BatchOutcome, WorkError> {
        Ok(BatchOutcome::default())
    }
}

impl StageKind for Declare {
    fn kind(&self) -> &'static str {
        "declare"
    }

    fn about(&self) -> &'static str {
        "declares a table"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(DeclareConfig)
    }

    fn compile(&self, stage: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let score = [("reference_id", DataType::String), ("sharpness", DataType::Float64)];
        let score = score.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype));
        let (reads, written) = match stage.config::<DeclareConfig>()?.writes.as_str() {
            "scores" => {
                let columns = Arc::new(Schema::from_iter(score));
                (vec![Read::aligned("references")], TableDecl { name: "scores".to_owned(), columns })
            }
            "verdicts" => (vec![Read::aligned("references")], tables::verdicts("reference_id")),
            _ => (Vec::new(), tables::references()),
        };
        let bounds = if reads.is_empty() { Bounds::Source(Arc::new(Self)) } else { Bounds::Aligned };
        let work = Work::Rows(Arc::new(Self));
        let settings = stage.config.clone();
        Ok(vec![NodeDecl { part: None, output_version: 1, settings, reads, writes: vec![written], bounds, work }])
    }
}

/// The plan of collect → measure → filter → publish, or the mistakes in it.
fn planned(publish: &str) -> Result<plan::Plan, String> {
    let stage = |name: &str, needs: &str, writes: &str| {
        format!("[[stage]]\nname = \"{name}\"\nkind = \"declare\"\nneeds = [{needs}]\nwrites = \"{writes}\"\n")
    };
    let stages = [
        stage("collect", "", "references"),
        stage("measure", "\"collect\"", "scores"),
        stage("filter", "\"measure\"", "verdicts"),
        format!("[[stage]]\nname = \"publish\"\nkind = \"publish\"\n{publish}\n"),
    ];
    let text = format!("version = 1\n{}", stages.concat());
    let registry = StageRegistry::default().with(Declare).with(PublishKind);
    let manifest = Manifest::parse(Path::new("cafe.toml"), &text, &registry).map_err(|errors| errors.lines())?;
    plan::compile(&manifest, &registry, &[]).map_err(|issues| {
        let issues: Vec<String> = issues.into_iter().map(|found| found.issue.message).collect();
        issues.join("; ")
    })
}

#[test]
fn references_can_be_published_before_there_is_a_generator() {
    let plan = planned("needs = [\"filter\"]\nof = \"references\"\nscores = [\"sharpness\"]").unwrap();
    let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["collect", "measure", "filter", "publish.pack", "publish"]);
    let pack = plan.node("publish.pack").unwrap();
    let from: Vec<&str> = pack.reads.iter().flat_map(|read| read.from.iter().map(String::as_str)).collect();
    assert_eq!(from, ["collect", "filter", "measure"]);
    assert_eq!(plan.node("publish").unwrap().reads[0].from, ["publish.pack"]);
}

#[test]
fn what_is_missing_upstream_is_said_before_anything_runs() {
    let cases = [
        ("needs = [\"collect\"]\nof = \"references\"", "`publish` reads table `verdicts`"),
        ("needs = [\"filter\"]", "`publish` reads table `candidates`"),
        ("needs = [\"filter\"]\nof = \"references\"\nscores = [\"clip\"]", "has no column `clip`"),
        ("needs = [\"filter\"]\nof = \"references\"\nlicences = { alow = [\"a\"] }", "alow"),
        ("needs = [\"filter\"]\nof = \"referenzes\"", "referenzes"),
        ("needs = [\"filter\"]\nof = \"references\"\nrelease = \"../x\"", "release"),
        ("needs = [\"filter\"]\nof = \"references\"\nfile_rows = 0", "file_rows"),
    ];
    for (publish, expected) in cases {
        let message = planned(publish).map(|plan| plan.nodes.len()).unwrap_err();
        assert!(message.contains(expected), "{publish}\n{message}");
    }
}
