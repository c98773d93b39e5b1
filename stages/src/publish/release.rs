//! Writing a release: files, card, and `release.json` last.

use std::collections::BTreeMap;
use std::sync::Arc;

use cafe_pipeline::catalog::{Effect, QuadrupletRow, ReleaseRecord};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::failpoint::{FailPoint, try_pass};
use cafe_pipeline::release::RELEASE_JSON;
use cafe_pipeline::stage::{Cost, Rejects, WholeOutcome, WholeWork, WorkContext, WorkError};
use polars::prelude::*;
use serde_json::{Map, Value, json};

use super::compile::RELEASE_VERSION;
use super::config::{PublishConfig, Subject};
use super::cut::cut;
use super::files::{self, FileRecord};
use super::select::select;
use super::summary::{Packed, Summary};
use super::{card, table};
use crate::place::Placer;

/// The dataset card.
pub(crate) const CARD: &str = "README.md";
/// Version of the format of `release.json`.
pub(crate) const FORMAT: &str = "cafe-data-release/v1";

/// The work of `publish`.
pub(super) struct WriteRelease {
    pub(super) name: String,
    pub(super) config: Arc<PublishConfig>,
}

impl WholeWork for WriteRelease {
    fn run(&self, context: &WorkContext) -> Result<WholeOutcome, WorkError> {
        let packed = Packed::read(context, self.config.of)?;
        let selection = select(context, &self.config)?;
        let summary = Summary::new(&self.name, &self.config, &packed, &selection, context.seed.0, RELEASE_VERSION);
        for warning in &summary.warnings {
            tracing::warn!(release = summary.release_id, "{warning}");
        }
        let rows = packed.sizes.iter().map(|(split, n_bytes)| (split.as_str(), *n_bytes));
        let cut = cut(rows, self.config.file_rows.into(), self.config.max_file_bytes);

        let folder = format!("releases/{}", summary.release_id);
        let placer = Placer::new(context.storage.as_ref(), folder.clone(), &context.scratch);
        same_release(&placer, &summary)?;
        let mut files = files::write(context, &placer, self.config.of, &packed.scores, &cut)?;
        let card = card::text(&self.config, &summary, &packed, &files);
        files.push(FileRecord {
            path: CARD.to_owned(),
            split: None,
            n_rows: None,
            n_bytes: card.len() as u64,
            digest: placer.place(CARD, card.as_bytes())?,
        });
        placer.clean()?;

        let json = release_json(&summary, &files);
        let failed = |error| WorkError::io(&folder, &error);
        try_pass(FailPoint::ReleasePublishing).map_err(failed)?;
        let digest = placer.place(RELEASE_JSON, json.as_bytes())?;
        try_pass(FailPoint::ReleasePublished).map_err(failed)?;
        self.outcome(context, packed.units, summary, folder, digest)
    }

    fn rejects(&self) -> Option<&dyn Rejects> {
        (self.config.of == Subject::Candidates).then_some(self as &dyn Rejects)
    }

    fn expected_rows(&self, _: u64) -> u64 {
        1
    }
}

impl WriteRelease {
    fn outcome(
        &self,
        context: &WorkContext,
        units: Vec<QuadrupletRow>,
        summary: Summary,
        path: String,
        digest: Digest,
    ) -> Result<WholeOutcome, WorkError> {
        let Summary { body, release_id, n_rows, .. } = summary;
        let inputs: BTreeMap<&String, Vec<Digest>> = context
            .inputs
            .iter()
            .map(|(table, shards)| (table, shards.iter().map(|shard| shard.content).collect()))
            .collect();
        let text = |name: &str, value: &str| Column::new(name.into(), [value]);
        let columns = vec![
            text("release_id", &release_id),
            text("name", &self.name),
            text("path", &path),
            text("digest", &digest.to_hex()),
            Column::new("n_rows".into(), [n_rows]),
            text("inputs", &json!(inputs).to_string()),
        ];
        let row = DataFrame::new(1, columns)?;
        let name = table::releases().name;
        let units = units.into_iter().map(|unit| QuadrupletRow { release_id: release_id.clone(), ..unit }).collect();
        let release =
            ReleaseRecord { release_id, name: self.name.clone(), path, digest, n_rows, summary: Value::Object(body) };
        Ok(WholeOutcome {
            tables: BTreeMap::from([(name, row)]),
            n_in: n_rows,
            effects: vec![Effect::Release(release), Effect::Quadruplets(units)],
            cost: Cost { n_tries: 1, ..Cost::default() },
        })
    }
}

/// A folder bears eight digits of the digest. Should two releases ever share them, the older one is left alone.
fn same_release(placer: &Placer<'_>, summary: &Summary) -> Result<(), WorkError> {
    let Some(bytes) = placer.read(RELEASE_JSON)? else { return Ok(()) };
    // A damaged file is replaced like any other.
    let Ok(found) = serde_json::from_slice::<Value>(&bytes) else { return Ok(()) };
    match found.get("content_digest").and_then(Value::as_str) {
        Some(digest) if digest != summary.content_digest.to_hex() => Err(WorkError::Systemic(format!(
            "the folder of release {} holds another release ({digest}): choose another `release` name",
            summary.release_id
        ))),
        _ => Ok(()),
    }
}

fn release_json(summary: &Summary, files: &[FileRecord]) -> String {
    let mut json = Map::new();
    json.insert("format".to_owned(), json!(FORMAT));
    json.insert("release_id".to_owned(), json!(summary.release_id));
    json.insert("content_digest".to_owned(), json!(summary.content_digest));
    json.extend(summary.body.clone());
    json.insert("files".to_owned(), json!(files));
    let mut text = format!("{:#}", Value::Object(json));
    text.push('\n');
    text
}
