//! An audit from the catalog to the marks, with a plan that was compiled from a manifest.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use super::super::report::Repair;
use super::super::{AuditOptions, audit};
use super::*;
use crate::catalog::{
    Adoption, AttemptEnd, Catalog, CatalogError, ClaimRequest, Commit, CommitOutcome, CommittedCounts, Compaction,
    EventRecord, LedgerEntry, LiveWorker, NodeProgress, PlanApplied, PlanRecord, Rate, Result, RunEnd, RunId,
    RunRecord, ShardBatch, WorkItem, WorkerId, WorkerRecord,
};
use crate::manifest::Manifest;
use crate::plan::{Plan, compile};
use crate::query::{Format, QuerySource, run_sql, write};
use crate::stage::{
    BatchOutcome, Bounds, CompileContext, ConfigIssue, InputShard, Lister, NodeDecl, Read, RowWork, StageDecl,
    StageKind, StageRegistry, TableDecl, Work, WorkContext, WorkError,
};

/// Looks at a project as [`Made`] left it. Nothing is ever worked on.
struct Shelf {
    made: Made,
    plan: PlanRecord,
    invalidated: Mutex<Vec<(i64, String)>>,
}

fn unused<T>() -> Result<T> {
    Err(CatalogError::Internal("an audit has no use for this".to_owned()))
}

#[async_trait]
impl Catalog for Shelf {
    async fn apply_plan(&self, _: &PlanRecord, _: &ShardBatch) -> Result<PlanApplied> {
        unused()
    }
    async fn current_plan(&self) -> Result<Option<PlanRecord>> {
        Ok(Some(self.plan.clone()))
    }
    async fn find_committed(&self, _: &[ShardKey]) -> Result<Vec<Option<CommittedCounts>>> {
        unused()
    }
    async fn find_opening(&self, _: &ShardKey) -> Result<Option<Vec<ListingSlice>>> {
        unused()
    }
    async fn begin_run(&self, _: &RunRecord) -> Result<RunId> {
        unused()
    }
    async fn end_run(&self, _: RunId, _: &RunEnd) -> Result<()> {
        unused()
    }
    async fn adoptions(&self) -> Result<Vec<Adoption>> {
        unused()
    }
    async fn adopt(&self, _: &Adoption) -> Result<()> {
        unused()
    }
    async fn register_worker(&self, _: &WorkerRecord) -> Result<WorkerId> {
        unused()
    }
    async fn heartbeat(&self, _: WorkerId) -> Result<bool> {
        unused()
    }
    async fn reap(&self, _: &[WorkerId]) -> Result<u64> {
        unused()
    }
    async fn workers(&self) -> Result<Vec<LiveWorker>> {
        unused()
    }
    async fn depart(&self, _: WorkerId) -> Result<()> {
        unused()
    }
    async fn claim(&self, _: &ClaimRequest) -> Result<Vec<WorkItem>> {
        unused()
    }
    async fn commit(&self, _: &Commit) -> Result<CommitOutcome> {
        unused()
    }
    async fn compact(&self, _: &Compaction) -> Result<bool> {
        unused()
    }
    async fn give_up(&self, _: &AttemptEnd) -> Result<()> {
        unused()
    }
    async fn invalidate(&self, shard_id: i64, reason: &str) -> Result<()> {
        self.invalidated.lock().unwrap().push((shard_id, reason.to_owned()));
        Ok(())
    }
    async fn progress(&self) -> Result<Vec<NodeProgress>> {
        Ok(Vec::new())
    }
    async fn shards(&self, _: Option<&str>) -> Result<Vec<ShardStatus>> {
        Ok(self.made.shards.clone())
    }
    async fn files(&self) -> Result<Vec<InputShard>> {
        let files = self.made.shards.iter().flat_map(|shard| {
            shard.files.iter().map(|file| InputShard {
                shard_id: shard.shard_id,
                node: shard.key.node.clone(),
                shard_index: shard.key.shard_index as u32,
                table: file.table.clone(),
                path: file.path.clone(),
                digest: file.digest,
                content: file.content(),
                n_bytes: file.n_bytes,
                n_rows: file.n_rows,
            })
        });
        Ok(files.collect())
    }
    async fn known_paths(&self) -> Result<Vec<String>> {
        let slices = self.made.shards.iter().filter_map(|shard| Some(shard.slice.as_ref()?.path.clone()));
        Ok(self.files().await?.into_iter().map(|file| file.path).chain(slices).collect())
    }
    async fn quarantine(&self) -> Result<Vec<QuarantineEntry>> {
        Ok(self.made.quarantine.clone())
    }
    async fn quarantine_of(&self, _: &[ShardKey]) -> Result<Vec<QuarantineEntry>> {
        unused()
    }
    async fn ledger(&self) -> Result<Vec<LedgerEntry>> {
        Ok(Vec::new())
    }
    async fn rates(&self) -> Result<Vec<Rate>> {
        unused()
    }
    async fn releases(&self) -> Result<Vec<ReleaseRecord>> {
        Ok(Vec::new())
    }
    async fn releases_with(&self, _: &str) -> Result<Vec<String>> {
        unused()
    }
    async fn lineage(&self, shard_id: i64) -> Result<Vec<LineageEntry>> {
        Ok(self.made.lineage.get(&shard_id).cloned().unwrap_or_default())
    }
    async fn record_events(&self, _: &[EventRecord]) -> Result<()> {
        unused()
    }
    async fn events(&self, _: u32) -> Result<Vec<EventRecord>> {
        Ok(Vec::new())
    }
    async fn close(&self) {}
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

/// A stage of the test project, by its name.
struct TestKind;

struct Never;

impl Lister for Never {
    fn list(&self, _: &WorkContext) -> std::result::Result<DataFrame, WorkError> {
        Err(WorkError::Cancelled)
    }
}

impl RowWork for Never {
    fn row_id(&self) -> &str {
        "reference_id"
    }

    fn process(&self, _: &WorkContext, _: &DataFrame) -> std::result::Result<BatchOutcome, WorkError> {
        Err(WorkError::Cancelled)
    }
}

impl StageKind for TestKind {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn about(&self) -> &'static str {
        "A stage of the test project."
    }

    fn config_schema(&self) -> schemars::Schema {
        schema_for!(NoKeys)
    }

    fn compile(
        &self,
        stage: &StageDecl,
        _: &CompileContext<'_>,
    ) -> std::result::Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let (reads, table, bounds) = match stage.name.as_str() {
            "scan" => (vec![], "references", Bounds::Source(Arc::new(Never))),
            "measure" => (vec![Read::aligned("references")], "scores", Bounds::Aligned),
            _ => (vec![Read::aligned("scores")], "verdicts", Bounds::Aligned),
        };
        let columns = Schema::from_iter([Field::new("reference_id".into(), DataType::String)]);
        Ok(vec![NodeDecl {
            part: None,
            output_version: 1,
            settings: serde_json::Value::Null,
            reads,
            writes: vec![TableDecl { name: table.to_owned(), columns: Arc::new(columns) }],
            bounds,
            work: Work::Rows(Arc::new(Never)),
        }])
    }
}

fn plan() -> Plan {
    let text = r#"
        version = 1
        seed = 7
        [[stage]]
        name = "scan"
        kind = "test"
        [[stage]]
        name = "measure"
        kind = "test"
        needs = ["scan"]
        [[stage]]
        name = "filter"
        kind = "test"
        needs = ["measure"]
    "#;
    let registry = StageRegistry::default().with(TestKind);
    let manifest =
        Manifest::parse(Path::new("cafe.toml"), text, &registry).unwrap_or_else(|errors| panic!("{errors:?}"));
    compile(&manifest, &registry, &[]).unwrap()
}

fn shelf(made: Made) -> (Shelf, Plan, Arc<dyn Storage>) {
    let plan = plan();
    let storage = Arc::clone(&made.storage);
    let record = plan.record(&BTreeMap::new());
    (Shelf { made, plan: record, invalidated: Mutex::default() }, plan, storage)
}

#[tokio::test]
async fn the_rules_of_the_test_project_are_those_of_a_plan() {
    let nodes: Vec<NodeFacts> = plan().nodes.iter().map(NodeFacts::of).collect();
    assert_eq!(nodes, Made::new().nodes);
}

#[tokio::test]
async fn an_undamaged_project_balances_from_end_to_end() {
    let (shelf, plan, storage) = shelf(Made::new());
    for verify in [false, true] {
        let report = audit(&plan, &shelf, &storage, AuditOptions { verify }).await.unwrap();
        assert_eq!((report.problems, report.notes, report.n_accepted), (vec![], vec![], Some(3)));
        assert_eq!((report.balances, report.verified, report.n_invalidated), (true, verify, 0));
    }
    assert!(shelf.invalidated.lock().unwrap().is_empty());
}

#[tokio::test]
async fn damage_is_marked_once_and_only_when_verifying() {
    let mut made = Made::new();
    std::fs::remove_file(made.path("scan", 0)).unwrap();
    made.quarantine.clear();
    let shard_id = made.shard("scan", 0).shard_id;
    let listing = made.shard("scan", 0).slice.as_ref().unwrap().path.clone();
    std::fs::write(made.storage.root().join(&listing), b"PAR1").unwrap();
    let (shelf, plan, storage) = shelf(made);
    let report = audit(&plan, &shelf, &storage, AuditOptions { verify: false }).await.unwrap();
    assert_eq!((report.problems.len(), report.n_invalidated), (3, 0));
    assert!(shelf.invalidated.lock().unwrap().is_empty());
    assert!(storage.size(&listing).is_ok());
    let report = audit(&plan, &shelf, &storage, AuditOptions { verify: true }).await.unwrap();
    assert_eq!((report.problems.len(), report.n_invalidated), (3, 1));
    assert!(report.problems.iter().all(|problem| problem.is_marked));
    assert!(report.problems.iter().any(|problem| problem.repairs.contains(&Repair::Invalidate { shard_id })));
    let invalidated = shelf.invalidated.lock().unwrap().clone();
    assert_eq!(invalidated, [(shard_id, "audit: shards/scan/references-00000.1.parquet is not there".to_owned())]);
    assert!(storage.size(&listing).is_err(), "the next run lists again");
}

#[tokio::test]
async fn a_changed_manifest_is_noted() {
    let (mut shelf, plan, storage) = shelf(Made::new());
    shelf.plan.nodes[1]["fingerprint"] = "another".into();
    shelf.made.shard("filter", 0).key.node = "gone".to_owned();
    let report = audit(&plan, &shelf, &storage, AuditOptions::default()).await.unwrap();
    assert!(report.notes.iter().any(|note| note.starts_with("the manifest was changed since the last run: `measure`")));
    assert!(report.notes.iter().any(|note| note.starts_with("not in the manifest any more: `gone`")));
    assert_eq!(report.nodes.last().map(|node| node.node.as_str()), Some("gone"));
}

#[tokio::test]
async fn queries_reach_the_catalog_and_the_tables_of_the_plan() {
    let (mut shelf, plan, storage) = shelf(Made::new());
    shelf.made.shards.retain(|shard| shard.key.node != "filter");
    for (sql, wanted) in [
        ("SELECT node, sum(n_in) AS n FROM shards GROUP BY node ORDER BY node", "node,n\nmeasure,5\nscan,7\n"),
        ("SELECT class, message FROM quarantine", "class,message\ncorrupt,not an image\n"),
        ("SELECT count(*) AS n FROM references JOIN scores USING (reference_id)", "n\n5\n"),
        ("SELECT count(*) AS n FROM verdicts", "n\n0\n"),
        ("SELECT count(*) AS n FROM events", "n\n0\n"),
        ("SELECT count(*) AS n FROM ledger", "n\n0\n"),
        ("SELECT count(*) AS n FROM releases", "n\n0\n"),
        ("SELECT count(*) AS n FROM progress", "n\n0\n"),
        ("SELECT count(*) AS n FROM files WHERE \"table\" = 'scores'", "n\n2\n"),
    ] {
        let source = QuerySource::gather(&shelf, storage.as_ref(), Some(&plan), sql).await.unwrap();
        let rows = tokio::task::spawn_blocking(move || run_sql(&source, sql)).await.unwrap().unwrap();
        let mut out = Vec::new();
        write(&rows, Format::Csv, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), wanted, "{sql}");
    }
}
