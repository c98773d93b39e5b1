//! Releases, made and read back from disk.

mod card;
mod choice;
mod crash;
mod keys;
mod plan;
mod rejects;
mod release;
mod said;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
use polars::prelude::*;
use serde_json::{Value, json};

use super::PublishKind;
use crate::testing::{Bench, Ran};

const N_REFERENCES: usize = 12;

fn compile(config: Value) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let context = CompileContext::new(Path::new("."), Seed(7));
    PublishKind.compile(&StageDecl { name: "publish".to_owned(), config }, &context)
}

fn nodes(config: Value) -> Vec<NodeDecl> {
    compile(config).unwrap()
}

/// Publishing never looks into a picture.
fn png(index: usize) -> Vec<u8> {
    format!("\u{89}PNG picture {index}").into_bytes()
}

fn images(pictures: Vec<Option<Vec<u8>>>) -> Column {
    let n = pictures.len();
    let paths: Vec<String> = (0..n).map(|index| format!("photos/of mine/{index}.png")).collect();
    let parts = [Series::new("bytes".into(), pictures), Series::new("path".into(), paths)];
    StructChunked::from_series("image".into(), n, parts.iter()).unwrap().into_series().into_column()
}

fn texts(name: &str, values: impl IntoIterator<Item = String>) -> Column {
    Column::new(name.into(), values.into_iter().collect::<Vec<String>>())
}

fn references() -> DataFrame {
    let rows = 0..N_REFERENCES;
    let licences: Vec<Option<&str>> = rows
        .clone()
        .map(|row| match row % 4 {
            0 | 1 => Some("CC0-1.0"),
            2 => Some("CC-BY-4.0"),
            _ => None,
        })
        .collect();
    let columns = vec![
        texts("reference_id", rows.clone().map(|row| format!("r{row:02}"))),
        texts("file_digest", rows.clone().map(|row| format!("{row}"))),
        texts("subject_id", rows.clone().map(|row| format!("s{}", row / 2))),
        texts("class", rows.clone().map(|row| ["dog", "cat"][row % 2].to_owned())),
        texts("caption", rows.clone().map(|row| format!("picture {row}"))),
        texts("source", rows.clone().map(|_| "test".to_owned())),
        Column::new("licence".into(), licences),
        texts("split", rows.clone().map(|row| ["train", "train", "val"][row % 3].to_owned())),
        Column::new("width_px".into(), vec![8_u32; N_REFERENCES]),
        Column::new("height_px".into(), vec![8_u32; N_REFERENCES]),
        images(rows.map(|row| Some(png(row))).collect()),
    ];
    DataFrame::new(N_REFERENCES, columns).unwrap()
}

/// Two per reference.
fn pairs() -> DataFrame {
    let rows = 0..2 * N_REFERENCES;
    let columns = vec![
        texts("pair_id", rows.clone().map(|row| format!("p{row:02}"))),
        texts("reference_id", rows.clone().map(|row| format!("r{:02}", row / 2))),
        texts("instruction_id", rows.clone().map(|row| format!("i{}", row % 2))),
        texts("family", rows.clone().map(|row| ["scene", "style"][row % 2].to_owned())),
        texts("class", rows.clone().map(|row| ["dog", "cat"][row / 2 % 2].to_owned())),
        texts("instruction", rows.clone().map(|row| format!("Put it on beach {row}: \"there\"."))),
        texts("caption", rows.map(|row| format!("on beach {row}"))),
    ];
    DataFrame::new(2 * N_REFERENCES, columns).unwrap()
}

/// One per pair.
fn candidates() -> DataFrame {
    let n = 2 * N_REFERENCES;
    let rows = 0..n;
    let columns = vec![
        texts("candidate_id", rows.clone().map(|row| format!("c{row:02}"))),
        texts("pair_id", rows.clone().map(|row| format!("p{row:02}"))),
        Column::full_null("w_id".into(), n, &DataType::String),
        texts("generator", rows.clone().map(|_| "sid".to_owned())),
        texts("weights_digest", rows.clone().map(|_| "w".repeat(8))),
        texts("settings_digest", rows.clone().map(|_| "s".repeat(8))),
        Column::new("round".into(), vec![1_u32; n]),
        Column::new("alpha".into(), rows.clone().map(|row| row as f64 / 30.0).collect::<Vec<_>>()),
        Column::new("sample_index".into(), vec![0_u32; n]),
        Column::new("seed".into(), rows.clone().map(|row| u64::MAX - row as u64).collect::<Vec<_>>()),
        images(rows.map(|row| Some(png(100 + row))).collect()),
    ];
    DataFrame::new(n, columns).unwrap()
}

fn scores(id_column: &str, ids: &DataFrame, name: &str, score: impl Fn(usize) -> f64) -> DataFrame {
    let values: Vec<f64> = (0..ids.height()).map(score).collect();
    let columns = vec![ids.column(id_column).unwrap().clone(), Column::new(name.into(), values)];
    DataFrame::new(ids.height(), columns).unwrap()
}

/// Accepts the rows for which `reason` gives none.
fn verdicts(id_column: &str, ids: &DataFrame, reason: impl Fn(usize) -> Option<&'static str>) -> DataFrame {
    let reasons: Vec<Option<&str>> = (0..ids.height()).map(reason).collect();
    let accepted: Vec<bool> = reasons.iter().map(Option::is_none).collect();
    let columns = vec![
        ids.column(id_column).unwrap().clone(),
        Column::new("accepted".into(), accepted),
        Column::new("reason".into(), reasons),
        texts("thresholds", (0..ids.height()).map(|_| "clip >= 0.3".to_owned())),
    ];
    DataFrame::new(ids.height(), columns).unwrap()
}

/// In shards of `shard_rows`.
fn shards(rows: &DataFrame, shard_rows: usize) -> Vec<DataFrame> {
    (0..rows.height()).step_by(shard_rows).map(|offset| rows.slice(offset as i64, shard_rows)).collect()
}

/// Every third candidate is rejected.
fn third(row: usize) -> Option<&'static str> {
    (row % 3 == 2).then_some("clip >= 0.3")
}

/// All tables, cut into shards of so many references.
fn bench(shard_references: usize) -> Bench {
    let mut bench = Bench::new();
    let (candidates, k) = (candidates(), shard_references);
    bench.put("references", shards(&references(), k));
    bench.put("pairs", shards(&pairs(), 2 * k));
    bench.put("candidates", shards(&candidates, 2 * k));
    let mut tables = shards(&scores("candidate_id", &candidates, "clip", |row| row as f64 / 70.0), 2 * k);
    tables.extend(shards(&scores("reference_id", &references(), "sharpness", |row| 1.0 / (row as f64 + 3.0)), k));
    bench.put("scores", tables);
    bench.put("verdicts", shards(&verdicts("candidate_id", &candidates, third), 2 * k));
    bench
}

/// Runs both nodes.
fn publish(bench: &mut Bench, config: Value) -> Release {
    let nodes = nodes(config);
    let packed = bench.run_on(&nodes[0]);
    let ran = bench.run(&nodes[1]).unwrap();
    Release::read(bench, packed, ran)
}

/// A release as it lies on the disk.
struct Release {
    packed: Ran,
    ran: Ran,
    folder: PathBuf,
    json: Value,
    /// Name → bytes, of all files.
    files: BTreeMap<String, Vec<u8>>,
}

impl Release {
    fn read(bench: &Bench, packed: Ran, ran: Ran) -> Self {
        let path = ran.tables["releases"].column("path").unwrap().str().unwrap().get(0).unwrap().to_owned();
        let folder = bench.dir.path().join("data").join(path);
        let files = files_below(&folder);
        let json = serde_json::from_slice(&files["release.json"]).unwrap();
        Self { packed, ran, folder, json, files }
    }

    fn id(&self) -> &str {
        self.json["release_id"].as_str().unwrap()
    }

    fn rows(&self, file: &str) -> DataFrame {
        frame::from_parquet(self.files[file].clone()).unwrap()
    }

    /// Rows of all Parquet files, in the order of their names.
    fn all_rows(&self) -> DataFrame {
        let mut all: Option<DataFrame> = None;
        for name in self.files.keys().filter(|name| name.ends_with(".parquet")) {
            let rows = self.rows(name);
            match &mut all {
                Some(all) => {
                    all.vstack_mut(&rows).unwrap();
                }
                None => all = Some(rows),
            }
        }
        all.unwrap()
    }
}

fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn column(rows: &DataFrame, name: &str) -> Vec<String> {
    rows.column(name).unwrap().str().unwrap().iter().map(|text| text.unwrap_or("-").to_owned()).collect()
}

/// Each file that `release.json` lists has the digest and size given there, and there are no others.
fn assert_digests(release: &Release) {
    let mut left = release.files.clone();
    left.remove("release.json").unwrap();
    for file in release.json["files"].as_array().unwrap() {
        let bytes = left.remove(file["path"].as_str().unwrap()).unwrap();
        assert_eq!(file["digest"], json!(Digest::of(&bytes)));
        assert_eq!(file["n_bytes"], json!(bytes.len()));
        if let Some(n_rows) = file["n_rows"].as_u64() {
            assert_eq!(frame::from_parquet(bytes).unwrap().height() as u64, n_rows);
        }
    }
    assert!(left.is_empty(), "{:?}", left.keys());
}
