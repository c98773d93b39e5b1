//! What is known of a release before its files are written: what it is named by, and most of what `release.json` says.

use std::collections::{BTreeMap, BTreeSet};

use cafe_pipeline::catalog::QuadrupletRow;
use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::stage::{WorkContext, WorkError};
use polars::prelude::*;
use serde_json::{Map, Value, json};

use super::config::{PublishConfig, Subject};
use super::scores;
use super::select::Selection;
use super::table::{CONTENT_DIGEST, IMAGE_BYTES, SCORES, packed_columns};
use crate::tables;

/// The columns that are counted, and the key they are counted under.
const COUNTED: [(&str, &str); 7] = [
    ("split", "splits"),
    ("class", "classes"),
    ("family", "families"),
    ("round", "rounds"),
    ("generator", "generators"),
    ("weights_digest", "weights_digests"),
    ("licence", "licences"),
];

/// Extent of a score.
#[derive(Clone, Copy, Debug)]
struct Extent {
    n: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// What the rows of `quadruplets` are, without their pixels.
pub(super) struct Packed {
    /// Split and bytes of pictures per row.
    pub(super) sizes: Vec<(String, u64)>,
    /// For the catalog; the release's id is filled in later.
    pub(super) units: Vec<QuadrupletRow>,
    /// Names of scores.
    pub(super) scores: Vec<String>,
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
    extents: BTreeMap<String, Extent>,
    content: blake3::Hasher,
}

impl Packed {
    /// Reads all columns but pixels.
    pub(super) fn read(context: &WorkContext, of: Subject) -> Result<Self, WorkError> {
        let columns: Vec<String> = packed_columns(of)
            .into_iter()
            .filter(|column| column.dtype != tables::image_type())
            .map(|column| column.name.to_owned())
            .collect();
        let mut packed = Self {
            sizes: Vec::new(),
            units: Vec::new(),
            scores: Vec::new(),
            counts: BTreeMap::new(),
            extents: BTreeMap::new(),
            content: blake3::Hasher::new(),
        };
        for (column, key) in COUNTED {
            if columns.iter().any(|name| name == column) {
                packed.counts.insert(key, BTreeMap::new());
            }
        }
        for shard in context.shards(tables::QUADRUPLETS) {
            context.cancel.check()?;
            packed.add(&context.read(shard, Some(&columns))?, of)?;
        }
        packed.scores = packed.extents.keys().cloned().collect();
        Ok(packed)
    }

    fn add(&mut self, rows: &DataFrame, of: Subject) -> Result<(), WorkError> {
        let text = |name: &str| rows.column(name)?.str();
        let splits = text("split")?.iter().map(|split| split.unwrap_or_default().to_owned());
        let sizes = rows.column(IMAGE_BYTES)?.u64()?.iter().map(Option::unwrap_or_default);
        self.sizes.extend(splits.zip(sizes));
        let rounds = rows.column("round").ok().map(|column| column.u32()).transpose()?;
        // Where there are no candidates, the reference stands in their place.
        let candidate = if of == Subject::Candidates { "candidate_id" } else { "reference_id" };
        let ids = text("quadruplet_id")?.iter().zip(text(candidate)?.iter()).zip(text("reference_id")?.iter());
        for (row, ((quadruplet_id, candidate_id), reference_id)) in ids.enumerate() {
            self.units.push(QuadrupletRow {
                quadruplet_id: quadruplet_id.unwrap_or_default().to_owned(),
                candidate_id: candidate_id.unwrap_or_default().to_owned(),
                reference_id: reference_id.unwrap_or_default().to_owned(),
                round: rounds.and_then(|rounds| rounds.get(row)).unwrap_or(0),
                release_id: String::new(),
            });
        }
        for digest in text(CONTENT_DIGEST)?.iter() {
            self.content.update(digest.unwrap_or_default().as_bytes());
        }
        for (column, key) in COUNTED {
            let Some(counts) = self.counts.get_mut(key) else { continue };
            let values = rows.column(column)?.cast(&DataType::String)?;
            for value in values.str()?.iter() {
                *counts.entry(value.unwrap_or("(none)").to_owned()).or_default() += 1;
            }
        }
        for (name, value) in scores::from_column(rows.column(SCORES)?)?.into_iter().flatten() {
            let extent = self.extents.entry(name).or_insert(Extent { n: 0, sum: 0.0, min: value, max: value });
            extent.n += 1;
            extent.sum += value;
            extent.min = extent.min.min(value);
            extent.max = extent.max.max(value);
        }
        Ok(())
    }

    /// Rows counted by the values of a column.
    pub(super) fn counted(&self, key: &str) -> impl Iterator<Item = (&str, u64)> {
        self.counts.get(key).into_iter().flatten().map(|(value, n)| (value.as_str(), *n))
    }

    fn extents(&self) -> Map<String, Value> {
        let extent = |extent: &Extent| {
            let mean = extent.sum / extent.n as f64;
            json!({ "n_rows": extent.n, "min": extent.min, "mean": mean, "max": extent.max })
        };
        self.extents.iter().map(|(name, of)| (name.clone(), extent(of))).collect()
    }
}

/// What the release is named by.
pub(super) struct Summary {
    /// All of `release.json` but id and files.
    pub(super) body: Map<String, Value>,
    /// Over the body, the rows and what decides the files.
    pub(super) content_digest: Digest,
    pub(super) release_id: String,
    pub(super) n_rows: u64,
    /// What a reader should know first.
    pub(super) warnings: Vec<String>,
}

impl Summary {
    /// Sums up.
    pub(super) fn new(
        name: &str,
        config: &PublishConfig,
        packed: &Packed,
        selection: &Selection,
        seed: u64,
        output_version: u32,
    ) -> Self {
        let n_rows = packed.units.len() as u64;
        let n_accepted = selection.chosen.len() as u64;
        let n_quarantined = n_accepted.saturating_sub(n_rows);
        let warnings = warnings(config, selection, n_rows, n_quarantined);
        let provenance: BTreeMap<&str, Value> = selection
            .tables
            .iter()
            .map(|(table, facts)| (*table, json!({ "n_rows": facts.n_rows, "ids_digest": facts.ids_digest })))
            .collect();
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("name", json!(name));
        put("of", json!(config.of));
        put("n_rows", json!(n_rows));
        put("warnings", json!(warnings));
        for (key, counts) in &packed.counts {
            put(key, json!(counts));
        }
        put("scores", Value::Object(packed.extents()));
        put(
            "rows",
            json!({
                "considered": selection.n_considered,
                "accepted": n_accepted,
                "published": n_rows,
                "quarantined": n_quarantined,
                "rejected": selection.rejected,
            }),
        );
        if let Some(dialogues) = &selection.dialogues {
            put("dialogues", dialogues.clone());
        }
        put("filtered", json!(config.filtered));
        put("thresholds", json!(selection.thresholds));
        put("licence_policy", json!({ "licences": config.licences, "require_licence": config.require_licence }));
        put("card", json!(config.card));
        put("provenance", json!({ "seed": seed, "tables": provenance }));
        let content_digest = Hasher::new("release/v1")
            .number("output_version", output_version.into())
            .json("body", &Value::Object(body.clone()))
            .number("file_rows", config.file_rows.into())
            .number("max_file_bytes", config.max_file_bytes)
            .bytes("content", packed.content.finalize().as_bytes())
            .digest();
        let release_id = format!("{name}-{}", content_digest.to_hex().get(..8).unwrap_or_default());
        Self { body, content_digest, release_id, n_rows, warnings }
    }
}

fn warnings(config: &PublishConfig, selection: &Selection, n_rows: u64, n_quarantined: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    let table = config.of.table();
    if n_rows == 0 {
        warnings.push(match selection.n_considered {
            0 => format!("this release is empty: the table `{table}` has no rows"),
            n => format!("this release is empty: none of the {n} rows of `{table}` was accepted"),
        });
    }
    if n_quarantined > 0 {
        warnings.push(format!("{n_quarantined} accepted rows are missing: they are in quarantine"));
    }
    warnings
}

/// Distinct licences of the rows.
pub(super) fn licences(packed: &Packed) -> BTreeSet<String> {
    packed.counted("licences").map(|(licence, _)| licence.to_owned()).collect()
}
