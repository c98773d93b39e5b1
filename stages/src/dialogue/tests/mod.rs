//! Dialogues, end to end: tables in, a server that does as told, tables out.

mod faults;
mod keys;
mod replies;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{
    BatchOutcome, CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind, Work, WorkError,
};
use polars::prelude::*;
use serde_json::{Value, json};
use server::{Answer, Server};

use super::DialogueKind;
use crate::models::{ModelStore, NoModel};
use crate::testing::{Bench, Ran};

/// Models of which one is declared and was not fetched.
struct Declared;

impl ModelStore for Declared {
    fn folder(&self, named: &str, _: ModelRole, _: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        let help = Some(format!("run `cafe-data models fetch {named}`"));
        Err(NoModel { message: format!("the model {named} was not fetched yet"), help })
    }

    fn pins(&self, named: &str, _: ModelRole, _: &CompileContext<'_>) -> Result<Option<Digest>, NoModel> {
        Ok((named == "smollm2-135m").then(|| Digest::of(b"pins")))
    }
}

fn compile(config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let context = CompileContext::new(Path::new("."), Seed(7));
    let nodes =
        DialogueKind::new(Arc::new(Declared)).compile(&StageDecl { name: "talk".to_owned(), config }, &context)?;
    Ok(nodes.into_iter().next().unwrap())
}

/// A stage that asks `server`, with more keys.
fn node(server: &Server, more: &Value) -> NodeDecl {
    node_at(&server.url(), more)
}

fn node_at(url: &str, more: &Value) -> NodeDecl {
    let mut config = json!({ "backend": { "type": "openai", "base_url": url, "model": "told" } });
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    compile(config).unwrap_or_else(|issues| panic!("{issues:?}"))
}

const CAPTIONS: [&str; 6] = [
    "a dog on the beach",
    "a cat in a red hat",
    "a teapot under water",
    "a robot in the rain",
    "an owl reading a book",
    "a boat made of glass",
];

/// Candidates c0 to c5 of pairs p0 to p5; those in `rejected` were rejected.
fn bench(rejected: &[usize]) -> Bench {
    let mut bench = Bench::new();
    put(&mut bench, rejected);
    bench
}

fn put(bench: &mut Bench, rejected: &[usize]) {
    let n = CAPTIONS.len();
    let ids = |letter: &str| (0..n).map(|row| format!("{letter}{row}")).collect::<Vec<String>>();
    let class = |caption: &str| caption.split(' ').nth(1).unwrap().to_owned();
    bench.put("candidates", vec![df!("candidate_id" => ids("c"), "pair_id" => ids("p")).unwrap()]);
    let pairs = df!(
        "pair_id" => ids("p"),
        "reference_id" => ids("r"),
        "class" => CAPTIONS.map(class).to_vec(),
        "instruction" => CAPTIONS.map(|caption| format!("Generate an image of {caption}.")).to_vec(),
        "caption" => CAPTIONS.to_vec(),
    );
    bench.put("pairs", vec![pairs.unwrap()]);
    let accepted: Vec<bool> = (0..n).map(|row| !rejected.contains(&row)).collect();
    let reasons: Vec<Option<&str>> = accepted.iter().map(|accepted| (!accepted).then_some("clip < 0.3")).collect();
    let verdicts = df!(
        "candidate_id" => ids("c"), "accepted" => accepted, "reason" => reasons, "thresholds" => vec!["clip >= 0.3"; n],
    );
    bench.put("verdicts", vec![verdicts.unwrap()]);
}

/// Runs the node as the executor would one batch of it, cost included.
fn process(bench: &Bench, node: &NodeDecl) -> Result<BatchOutcome, WorkError> {
    let Work::Rows(work) = &node.work else { panic!() };
    let context = bench.context();
    let rows = context.table("candidates", Some(&["candidate_id", "pair_id"])).unwrap();
    work.process(&context, &work.prepare(&context, rows).unwrap())
}

fn texts(rows: &DataFrame, column: &str) -> Vec<String> {
    rows.column(column).unwrap().str().unwrap().iter().map(|text| text.unwrap_or("-").to_owned()).collect()
}

fn bytes(rows: &DataFrame) -> Vec<u8> {
    frame::to_parquet(&mut rows.clone(), &[]).unwrap()
}

fn dialogues(ran: &Ran) -> &DataFrame {
    &ran.tables["dialogues"]
}

fn tries(ran: &Ran) -> &DataFrame {
    &ran.tables["dialogue_tries"]
}
