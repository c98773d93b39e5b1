//! A project made by hand, all tables of it, for those that read projects.

use std::io::Cursor;

use cafe_pipeline::catalog::{LedgerEntry, QuarantineEntry, QuarantineRow};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::frame;
use cafe_pipeline::query::QuerySource;
use cafe_pipeline::stage::{Cost, ErrorClass, InputShard};
use image::{ImageFormat, Rgb, RgbImage};
use polars::prelude::*;
use tempfile::TempDir;

/// Mixing weights of the candidates of `sid`.
pub(crate) const ALPHAS: [f64; 3] = [0.0, 0.5, 1.0];

/// Shards in a temporary folder.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) files: Vec<InputShard>,
}

/// A picture of noise, which no encoder makes small.
pub(crate) fn noise(side: u32, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(side, side, |_, _| Rgb([draw(), draw(), draw()])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A column of pictures.
pub(crate) fn images(pictures: Vec<Vec<u8>>) -> Column {
    let n = pictures.len();
    let parts = [Series::new("bytes".into(), pictures), Series::new("path".into(), vec!["a.png"; n])];
    StructChunked::from_series("image".into(), n, parts.iter()).unwrap().into_series().into_column()
}

fn ids(letter: char, n: usize) -> Vec<String> {
    (0..n).map(|row| format!("{letter}{row:07}")).collect()
}

impl World {
    pub(crate) fn empty() -> Self {
        Self { dir: TempDir::new().unwrap(), files: Vec::new() }
    }

    /// Four references of two classes, with a pair each; of each pair one candidate of `tune`, in a shard of its own, and
    /// one of `sid` for each of [`ALPHAS`], with one w each. Their scores grow with their numbers, `clip` from 0 and `dino`
    /// from 0.4; the filter wants 0.3 and 0.6, and so accepts 9 to 15.
    pub(crate) fn whole(side: u32) -> Self {
        let mut world = Self::references(side);
        let texts = |text: &str| (0..4).map(|row| format!("{text} {row}")).collect::<Vec<_>>();
        let pairs = df!(
            "pair_id" => ids('b', 4), "reference_id" => ids('a', 4), "instruction_id" => ids('i', 4),
            "family" => ["scene", "scene", "style", "style"], "class" => ["dog", "cat", "dog", "cat"],
            "instruction" => texts("Put it there"), "caption" => texts("it is there"),
        );
        world.put("pairs", "instruct", pairs.unwrap());
        world.put_candidates("tune", 0..4, side);
        world.put_candidates("sid", 4..16, side);
        let donors = df!("w_id" => ids('d', 4), "pair_id" => ids('b', 4), "source" => ["index"; 4]).unwrap();
        world.put("donors", "retrieve", with_images(donors, side, 300));
        let all = ids('c', 16);
        let step = |from: f64, by: f64| (0..16).map(|row| from + by * f64::from(row)).collect::<Vec<_>>();
        world.put("scores", "clip", df!("candidate_id" => &all, "clip" => step(0.0, 0.04)).unwrap());
        world.put("scores", "dino", df!("candidate_id" => &all, "dino" => step(0.4, 0.0225)).unwrap());
        let reasons: Vec<Option<&str>> = (0..16)
            .map(|row| match row {
                0..8 => Some("clip >= 0.3"),
                8 => Some("dino >= 0.6"),
                _ => None,
            })
            .collect();
        let accepted: Vec<bool> = reasons.iter().map(Option::is_none).collect();
        let verdicts = df!(
            "candidate_id" => &all, "accepted" => accepted, "reason" => reasons,
            "thresholds" => ["clip >= 0.3; dino >= 0.6"; 16],
        );
        world.put("verdicts", "filter", verdicts.unwrap());
        let kept = all.get(9..).unwrap();
        let acts: Vec<&str> = (0..kept.len()).map(|row| if row == 6 { "question" } else { "directive" }).collect();
        let said = |who: &str| kept.iter().map(|id| format!("{who} says {id}")).collect::<Vec<_>>();
        let dialogues = df!(
            "candidate_id" => kept, "dialogue_index" => vec![0_u32; kept.len()], "speech_act" => acts,
            "y" => said("user"), "y_tilde" => said("assistant"), "raw_reply" => said("model"),
        );
        world.put("dialogues", "dialogue", dialogues.unwrap());
        let quadruplets = df!("quadruplet_id" => ids('f', kept.len()), "candidate_id" => kept).unwrap();
        world.put("quadruplets", "publish.pack", quadruplets);
        let releases = df!("release_id" => ["set-1"], "name" => ["set"], "n_rows" => [kept.len() as u64]).unwrap();
        world.put("releases", "publish", releases);
        world
    }

    /// The references only.
    pub(crate) fn references(side: u32) -> Self {
        let mut world = Self::empty();
        let references = df!(
            "reference_id" => ids('a', 4), "class" => ["dog", "cat", "dog", "cat"], "caption" => ["a pet"; 4],
            "source" => ["hand"; 4], "licence" => ["CC0-1.0"; 4],
        );
        world.put("references", "collect", with_images(references.unwrap(), side, 100));
        world
    }

    fn put_candidates(&mut self, generator: &str, rows: std::ops::Range<usize>, side: u32) {
        let all = ids('c', rows.end);
        let (pairs, donors) = (ids('b', 4), ids('d', 4));
        let is_sid = generator == "sid";
        let pair = |row: usize| pairs[row % 4].clone();
        let candidates = df!(
            "candidate_id" => all.get(rows.clone()).unwrap(),
            "pair_id" => rows.clone().map(pair).collect::<Vec<_>>(),
            "w_id" => rows.clone().map(|row| is_sid.then(|| donors[row % 4].clone())).collect::<Vec<_>>(),
            "generator" => vec![generator; rows.len()],
            "alpha" => rows.clone().map(|row| is_sid.then(|| ALPHAS[row / 4 - 1])).collect::<Vec<_>>(),
            "sample_index" => vec![0_u32; rows.len()],
            "seed" => rows.clone().map(|row| row as u64).collect::<Vec<_>>(),
        );
        self.put("candidates", generator, with_images(candidates.unwrap(), side, 200 + rows.start as u32));
    }

    /// One more shard of a node.
    pub(crate) fn put(&mut self, table: &str, node: &str, mut rows: DataFrame) {
        let bytes = frame::to_parquet(&mut rows, &[]).unwrap();
        let shard_index = self.files.iter().filter(|file| file.table == table && file.node == node).count() as u32;
        // Names of nodes may be what no file can be called.
        let path = format!("{table}-{}.parquet", self.files.len());
        std::fs::write(self.dir.path().join(&path), &bytes).unwrap();
        self.files.push(InputShard {
            shard_id: self.files.len() as i64 + 1,
            node: node.to_owned(),
            shard_index,
            table: table.to_owned(),
            path,
            digest: Digest::of(&bytes),
            content: Digest::of(&bytes),
            n_bytes: bytes.len() as u64,
            n_rows: rows.height() as u64,
        });
    }

    pub(crate) fn source(&self) -> QuerySource {
        QuerySource::new(self.dir.path(), self.files.clone())
    }

    /// An attempt of a second at each shard, with a lost one before it at those of `sid`.
    pub(crate) fn ledger(&self) -> Vec<LedgerEntry> {
        let attempt = |file: &InputShard, outcome: &str| LedgerEntry {
            attempt_id: file.shard_id,
            shard_id: file.shard_id,
            node: file.node.clone(),
            shard_index: file.shard_index.into(),
            run: 1,
            worker: 1,
            outcome: outcome.to_owned(),
            started_ms: 1_772_355_900_000,
            wall_ms: 1000,
            cost: Cost { device_ms: if file.table == "candidates" { 800 } else { 0 }, ..Cost::default() },
            n_done: file.n_rows,
            backend: Some("cpu".to_owned()),
            message: None,
        };
        let attempts = self.files.iter().flat_map(|file| {
            let lost = (file.node == "sid").then(|| attempt(file, "lost"));
            lost.into_iter().chain([attempt(file, "committed")])
        });
        attempts.collect()
    }
}

fn with_images(mut rows: DataFrame, side: u32, seed: u32) -> DataFrame {
    let pictures = (0..rows.height() as u32).map(|row| noise(side, seed + row)).collect();
    rows.with_column(images(pictures)).unwrap();
    rows
}

/// A row in quarantine.
pub(crate) fn quarantined(node: &str, row_id: &str, message: &str) -> QuarantineEntry {
    let row =
        QuarantineRow { row: 3, row_id: row_id.to_owned(), class: ErrorClass::Corrupt, message: message.to_owned() };
    QuarantineEntry { node: node.to_owned(), shard_index: 0, row }
}
