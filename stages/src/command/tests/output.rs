//! What programs return: good, wrong, too much, too little.

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{ErrorClass, InputShard, ROW};
use serde_json::json;

use super::*;
use crate::tables;

const COPY: &str = "cp ready.parquet \"$2\"";

fn copied(columns: Vec<Column>, more: Value) -> Result<BatchOutcome, WorkError> {
    let project = Project::new();
    project.prepare("ready.parquet", columns);
    project.sh(COPY, more)
}

fn message(columns: Vec<Column>, more: Value) -> String {
    copied(columns, more).unwrap_err().to_string()
}

fn column<T: Clone>(rows: &DataFrame, name: &str, take: impl Fn(AnyValue<'_>) -> T) -> Vec<T> {
    rows.column(name).unwrap().as_materialized_series().iter().map(take).collect()
}

fn positions(rows: &DataFrame) -> Vec<u32> {
    column(rows, ROW, |value| value.try_extract().unwrap())
}

#[test]
fn rows_are_told_apart_by_id_and_put_in_order() {
    let outcome = copied(vec![scores(&[2.0, 1.0]), ids_of(&["b", "a"])], json!({})).unwrap();
    let table = &outcome.tables["scores"];
    let names: Vec<&str> = table.schema().iter_names().map(PlSmallStr::as_str).collect();
    assert_eq!(names, ["reference_id", "score", ROW]);
    assert_eq!(positions(table), [0, 1]);
    assert_eq!(column(table, "score", |value| value.try_extract::<f64>().unwrap()), [1.0, 2.0]);
    assert!(outcome.quarantined.is_empty());
}

#[test]
fn missing_and_refused_rows_are_quarantined() {
    let errors = Column::new("_error".into(), [Some("too dark")]);
    let outcome = copied(vec![ids_of(&["b"]), scores(&[2.0]), errors], json!({})).unwrap();
    let found: Vec<_> = outcome.quarantined.iter().map(|row| (row.row, row.class, row.message.as_str())).collect();
    assert_eq!(
        found,
        [(0, ErrorClass::Program, "the program returned no row for it"), (1, ErrorClass::Program, "too dark")]
    );
    assert_eq!(outcome.tables["scores"].height(), 0);
}

#[test]
fn wrong_columns_and_types_are_named() {
    assert_eq!(
        message(vec![ids_of(&["a", "b"]), Column::new("scroe".into(), [1.0, 2.0])], json!({})),
        "the program's output lacks column `score` (float64): it has `reference_id`, `scroe`"
    );
    let text = message(vec![ids_of(&["a", "b"]), Column::new("score".into(), ["1", "2"])], json!({}));
    assert!(text.starts_with("column `score` of the program's output must be float64, but is string"), "{text}");
    let text = message(
        vec![ids_of(&["a", "b"]), Column::new("n".into(), [1_i64, -1])],
        json!({ "output": { "n": "uint32" } }),
    );
    assert!(text.starts_with("column `n` of the program's output has values beyond uint32"), "{text}");
}

#[test]
fn wrong_ids_are_named() {
    assert_eq!(
        message(vec![ids_of(&["a", "x"]), scores(&[1.0, 2.0])], json!({})),
        "the program returned a row with a `reference_id` that is not in its input: x"
    );
    assert_eq!(
        message(vec![ids_of(&["a", "a", "b"]), scores(&[1.0, 2.0, 3.0])], json!({})),
        "the program returned more than one row for a: write `fan_out = \"many\"` if it may"
    );
}

#[test]
fn no_output_and_no_parquet_are_told_apart() {
    let project = Project::new();
    let run = |script: &str| project.sh(script, json!({})).unwrap_err().to_string();
    assert!(run("exit 0").starts_with("the program reported success but wrote no output"));
    assert!(run("echo hello > \"$2\"").starts_with("the program's output is not a readable Parquet file"));
    assert!(run(": > \"$2\"").starts_with("the program's output is not a readable Parquet file"));
}

#[test]
fn many_rows_of_a_row_keep_their_order() {
    let more = json!({ "fan_out": "many" });
    let outcome = copied(vec![ids_of(&["b", "a", "b"]), scores(&[1.0, 2.0, 3.0])], more).unwrap();
    let table = &outcome.tables["scores"];
    assert_eq!(positions(table), [0, 1, 1]);
    assert_eq!(column(table, "score", |value| value.try_extract::<f64>().unwrap()), [2.0, 1.0, 3.0]);
}

#[test]
fn rows_without_or_with_a_repeated_id_are_quarantined() {
    let project = Project::new();
    project.prepare("ready.parquet", vec![ids_of(&["a"]), scores(&[1.0])]);
    let rows = DataFrame::new_infer_height(vec![Column::new("reference_id".into(), [Some("a"), None, Some("a")])]);
    let outcome = project.work(sh(COPY, json!({}))).process(&project.context(), &rows.unwrap()).unwrap();
    let found: Vec<_> = outcome.quarantined.iter().map(|row| (row.row, row.class)).collect();
    assert_eq!(found, [(1, ErrorClass::Invalid), (2, ErrorClass::Invalid)]);
    assert_eq!(positions(&outcome.tables["scores"]), [0]);
}

fn image(bytes: &[Option<&[u8]>]) -> Column {
    // The other way round than in the table, and without a path, as a program may well write it.
    let parts = [Series::new("bytes".into(), bytes)];
    StructChunked::from_series("image".into(), bytes.len(), parts.iter()).unwrap().into_series().into_column()
}

#[test]
fn candidates_get_the_columns_that_a_program_leaves_out() {
    let project = Project::new();
    let pair_ids = |ids: &[&str]| Column::new("pair_id".into(), ids);
    let images = image(&[Some(b"one"), Some(b"two"), None]);
    project.prepare("ready.parquet", vec![pair_ids(&["p", "p", "q"]), images]);
    let mut config = sh(COPY, json!({ "reads": "pairs", "writes": "candidates", "fan_out": "many" }));
    config.as_object_mut().unwrap().remove("output");
    let work = project.work(config);
    let rows = DataFrame::new_infer_height(vec![pair_ids(&["p", "q"])]).unwrap();
    let run = || work.process(&project.context(), &rows).unwrap();
    let outcome = run();
    let table = &outcome.tables[tables::CANDIDATES];
    let declared = tables::candidates();
    for ((name, dtype), (wanted_name, wanted)) in table.schema().iter().zip(declared.columns.iter()) {
        assert_eq!((name, dtype), (wanted_name, wanted));
    }
    assert_eq!(column(table, "sample_index", |value| value.try_extract::<u32>().unwrap()), [0, 1]);
    let ids = column(table, "candidate_id", |value| value.get_str().unwrap().to_owned());
    assert!(ids[0].len() == 32 && ids[0] != ids[1]);
    let again = run();
    assert_eq!(column(&again.tables[tables::CANDIDATES], "candidate_id", |v| v.get_str().unwrap().to_owned()), ids);
    let missing = &outcome.quarantined[0];
    assert_eq!((missing.row, missing.message.as_str()), (1, "the program returned no value in column `image`"));
}

#[test]
fn joined_columns_reach_the_program() {
    let project = Project::new();
    let id = |name: &str, ids: &[&str]| Column::new(name.into(), ids);
    let mut references = DataFrame::new_infer_height(vec![
        ids_of(&["r1", "r2"]),
        id("class", &["dog", "cat"]),
        id("licence", &["x", "y"]),
    ])
    .unwrap();
    let bytes = frame::to_parquet(&mut references, &[]).unwrap();
    let mut context = project.context();
    context.storage.write("references/0.parquet", &bytes).unwrap();
    let shard = InputShard {
        shard_id: 1,
        node: "collect".to_owned(),
        shard_index: 0,
        table: "references".to_owned(),
        path: "references/0.parquet".to_owned(),
        digest: Digest::of(&bytes),
        content: Digest::of(&bytes),
        n_bytes: bytes.len() as u64,
        n_rows: 2,
    };
    context.inputs = [("references".to_owned(), vec![shard])].into();
    project.prepare("ready.parquet", vec![id("pair_id", &["p", "q", "s"]), scores(&[1.0, 2.0, 3.0])]);
    let script = format!("cp \"$1\" seen.parquet; {COPY}");
    let work = project.work(sh(&script, json!({ "reads": "pairs", "join": { "references": ["class"] } })));
    let pairs = vec![id("pair_id", &["p", "q", "s"]), ids_of(&["r2", "r1", "gone"])];
    let pairs = work.prepare(&context, DataFrame::new_infer_height(pairs).unwrap()).unwrap();
    work.process(&context, &pairs).unwrap();
    let seen = frame::from_parquet(std::fs::read(project.path("seen.parquet")).unwrap()).unwrap();
    let names: Vec<&str> = seen.schema().iter_names().map(PlSmallStr::as_str).collect();
    assert_eq!(names, ["pair_id", "reference_id", "references.class"]);
    let classes = column(&seen, "references.class", |value| value.get_str().map(ToOwned::to_owned));
    assert_eq!(classes, [Some("cat".to_owned()), Some("dog".to_owned()), None]);
}

/// A change here makes all users' shards stale: raise OUTPUT_VERSION, and write the new digest down.
#[test]
fn bytes_do_not_change_without_a_new_version() {
    let project = Project::new();
    let images = StructChunked::from_series(
        "image".into(),
        2,
        [
            BinaryChunked::from_slice("bytes".into(), &[b"x".as_slice(), b"y"]).into_series(),
            Series::new("path".into(), ["x.png", "y.png"]),
        ]
        .iter(),
    );
    let pair = Column::new("pair_id".into(), ["p", "q"]);
    project.prepare("ready.parquet", vec![pair.clone(), images.unwrap().into_column()]);
    let config = json!({ "reads": "pairs", "writes": "candidates", "output": null });
    let work = project.work(sh(COPY, config));
    let mut outcome = work.process(&project.context(), &DataFrame::new_infer_height(vec![pair]).unwrap()).unwrap();
    let bytes = frame::to_parquet(outcome.tables.get_mut("candidates").unwrap(), &[]).unwrap();
    assert_eq!(
        (super::super::compile::OUTPUT_VERSION, Digest::of(&bytes).to_hex().as_str()),
        (1, "9aa61ff2aa061c606b8cc008a87c11024708eb212da81ba13f13824764f5403f")
    );
}
