//! The scorers that have a model: CLIP and DINO.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cafe_engine::{Device, Tensor};
use cafe_pipeline::stage::{BatchOutcome, ErrorClass, ROW, RowWork, TableDecl, WorkContext, WorkError};
use polars::prelude::*;
use rayon::prelude::*;

use super::compile::ID;
use super::known::{Known, Vector, cosine};
use super::models::Models;
use super::overlap::overlapped;
use super::rows::{Joined, Joins, Refused, Rows, decode, ids, split};
use super::towers::{ImageTower, Kind};
use crate::picture::Limits;

/// Batches of a model in a batch of rows: where these end the model waits for its first pictures, once in so many.
const PER_BATCH: usize = 8;

/// A candidate's embedding and its reference's, or why there is none.
type Pair = Result<(Vector, Vector), Refused>;

/// The work of a node `clip` or `dino`.
pub(super) struct EncoderWork {
    kind: Kind,
    models: Models,
    joins: Joins,
    table: TableDecl,
    references: Known,
    texts: Known,
}

/// What is decoded and embedded together. References are embedded one by one, and so are texts: what they come out as
/// must not depend on which others are known already.
enum Chunk<'a> {
    Reference(&'a str, &'a [u8]),
    Candidates(Vec<(usize, &'a [u8])>),
}

/// Embeddings of references, or why there are none.
type References<'a> = HashMap<&'a str, Result<Vector, Refused>>;

impl EncoderWork {
    pub(super) fn new(kind: Kind, models: Models, joined: Joined, table: TableDecl) -> Self {
        let joins = Joins::new(joined);
        Self { kind, models, joins, table, references: Known::default(), texts: Known::default() }
    }

    /// Embeddings of all rows.
    fn pairs(&self, context: &WorkContext, rows: &Rows) -> Result<Vec<Pair>, WorkError> {
        let tower = self.models.images(self.kind)?;
        let (mut references, mut chunks) = self.references(rows);
        let files: Vec<_> = (0..rows.n()).filter_map(|row| Some((row, rows.image(row).ok()?))).collect();
        chunks.extend(files.chunks(self.models.batch).map(|files| Chunk::Candidates(files.to_vec())));
        let mut candidates: Vec<Result<Vector, Refused>> =
            (0..rows.n()).map(|row| rows.image(row).and_then(|_| Err(not_made()))).collect();
        let make = |chunk: &Chunk<'_>| match chunk {
            Chunk::Reference(_, file) => vec![self.picture(tower, file, "the reference")],
            Chunk::Candidates(files) => {
                files.par_iter().map(|(_, file)| self.picture(tower, file, "the candidate")).collect()
            }
        };
        overlapped(&chunks, make, |chunk, pictures| {
            context.cancel.check()?;
            let mut made = embed(tower, pictures)?.into_iter();
            match chunk {
                Chunk::Reference(id, _) => {
                    let made = made.next().unwrap_or_else(|| Err(not_made()));
                    if let Ok(vector) = &made {
                        self.references.put(id, vector.clone());
                    }
                    references.insert(*id, made);
                }
                Chunk::Candidates(files) => {
                    for ((row, _), made) in files.iter().zip(made) {
                        if let Some(place) = candidates.get_mut(*row) {
                            *place = made;
                        }
                    }
                }
            }
            Ok::<(), WorkError>(())
        })?;
        let reference = |row: usize| {
            let (id, _) = rows.reference(row)?;
            references.get(id).cloned().unwrap_or_else(|| Err(not_made()))
        };
        Ok(candidates.into_iter().enumerate().map(|(row, made)| Ok((made?, reference(row)?))).collect())
    }

    /// The references that are known, and work for those that are not.
    fn references<'a>(&self, rows: &'a Rows) -> (References<'a>, Vec<Chunk<'a>>) {
        let (mut known, mut chunks) = (References::new(), Vec::new());
        for (id, file) in (0..rows.n()).filter_map(|row| rows.reference(row).ok()) {
            if known.contains_key(id) {
                continue;
            }
            let vector = self.references.get(id);
            if vector.is_none() {
                chunks.push(Chunk::Reference(id, file));
            }
            known.insert(id, vector.ok_or_else(not_made));
        }
        (known, chunks)
    }

    fn picture(&self, tower: &ImageTower, file: &[u8], what: &str) -> Result<Tensor, Refused> {
        picture(tower, file, &self.models.limits).map_err(|(class, message)| (class, format!("{what}: {message}")))
    }

    /// The embedding of `text`; of many rows that have it, the first computes it.
    fn text(&self, text: &str) -> Result<Vector, WorkError> {
        if let Some(known) = self.texts.get(text) {
            return Ok(known);
        }
        let made = self.models.texts()?.embed(text)?;
        self.texts.put(text, made.clone());
        Ok(made)
    }

    /// The scores of a row, in the order of the columns.
    fn scores(&self, texts: [Option<&str>; 2], pair: &(Vector, Vector)) -> Result<Vec<Option<f32>>, WorkError> {
        let (candidate, reference) = pair;
        let mut scores = Vec::with_capacity(3);
        if self.kind == Kind::Clip {
            for text in texts {
                scores.push(text.map(|text| self.text(text)).transpose()?.map(|text| cosine(candidate, &text)));
            }
        }
        scores.push(Some(cosine(candidate, reference)));
        Ok(scores)
    }
}

fn not_made() -> Refused {
    (ErrorClass::Invalid, "was not embedded: this is a defect of the stage".to_owned())
}

/// The picture in `file` as the tower wants it: (3, H, W).
pub(super) fn picture(tower: &ImageTower, file: &[u8], limits: &Limits) -> Result<Tensor, Refused> {
    let picture = decode(file, limits).map_err(|fault| (fault.class, fault.message))?;
    let prepared = tower.processor.process(&picture, &Device::Cpu);
    prepared.map_err(|error| (ErrorClass::Invalid, error.to_string()))
}

/// Embeds those that are pictures.
pub(super) fn embed(
    tower: &ImageTower,
    pictures: Vec<Result<Tensor, Refused>>,
) -> Result<Vec<Result<Vector, Refused>>, WorkError> {
    let pixels: Vec<Tensor> = pictures.iter().filter_map(|picture| picture.as_ref().ok().cloned()).collect();
    let mut made = if pixels.is_empty() { Vec::new() } else { tower.embed(&pixels)? }.into_iter();
    Ok(pictures.into_iter().map(|picture| picture.and_then(|_| made.next().ok_or_else(not_made))).collect())
}

impl RowWork for EncoderWork {
    fn row_id(&self) -> &str {
        ID
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(Joins::columns())
    }

    fn batch_rows(&self) -> usize {
        self.models.batch * PER_BATCH
    }

    fn journaled(&self) -> bool {
        true
    }

    /// A batch of a large model on a slow machine, behind others of it.
    fn row_deadline(&self) -> Duration {
        Duration::from_secs(1_800)
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        self.joins.add(context, rows)
    }

    fn backend(&self) -> String {
        self.models.backend(self.kind)
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let view = Rows::of(rows)?;
        let mut found = Vec::with_capacity(view.n());
        for (row, pair) in self.pairs(context, &view)?.into_iter().enumerate() {
            context.cancel.check()?;
            found.push(match pair {
                Ok(pair) => Ok(self.scores(view.texts(row), &pair)?),
                Err(refused) => Err(refused),
            });
        }
        outcome(&self.table, rows, found)
    }
}

/// The rows that have scores, and those that are quarantined.
fn outcome(
    table: &TableDecl,
    rows: &DataFrame,
    found: Vec<Result<Vec<Option<f32>>, Refused>>,
) -> Result<BatchOutcome, WorkError> {
    let (kept, values, quarantined) = split(found);
    let mut columns = vec![ids(rows, &kept)?];
    for (index, name) in table.columns.iter_names().skip(1).enumerate() {
        let column: Vec<Option<f32>> = values.iter().map(|row| row.get(index).copied().flatten()).collect();
        columns.push(Column::new(name.clone(), column));
    }
    columns.push(Column::new(ROW.into(), kept));
    let tables = BTreeMap::from([(table.name.clone(), DataFrame::new(values.len(), columns)?)]);
    Ok(BatchOutcome { tables, quarantined, ..BatchOutcome::default() })
}
