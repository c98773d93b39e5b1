//! w of an index: the pictures that CLIP finds nearest to a caption.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cafe_engine::cafe::Family;
use cafe_engine::{EngineError, op};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{ErrorClass, WorkContext, WorkError};
use polars::prelude::*;
use rayon::prelude::*;

use super::donors::{Donor, Of};
use super::index::TABLE;
use crate::clip::Clip;
use crate::models::{Loaded, work_error};
use crate::picture::{Fault, Limits};
use crate::source::Reader;

/// Columns of the index that a search wants; all are small but the embeddings.
const COLUMNS: [&str; 9] =
    ["key", "file", "offset", "n_bytes", "licence", "fault", "picture_id", "file_digest", "embedding"];

/// Pictures that one core compares at a time.
const BLOCK: usize = 4096;

/// Finds captions' neighbours, exactly.
pub(super) struct Nearest {
    pub(super) reader: Reader,
    pub(super) family: PathBuf,
    pub(super) keep: usize,
    pub(super) clip: Loaded<Clip>,
    /// The index that was read last, by the digests of its shards.
    pub(super) index: Mutex<Option<(Vec<Digest>, Arc<Index>)>>,
}

/// All of an index, in memory: four bytes for each number of each picture.
pub(super) struct Index {
    rows: DataFrame,
    ids: Vec<String>,
    /// (N, D), row by row.
    embeddings: Vec<f32>,
    width: usize,
}

impl Nearest {
    /// The pictures nearest to `caption`, the best first.
    pub(super) fn donors(
        &self,
        context: &WorkContext,
        row: u32,
        pair: &str,
        caption: &str,
    ) -> Result<Result<Vec<Donor>, Fault>, WorkError> {
        let clip = self.clip.get(|| Clip::load(&Family::open(&self.family)?))?;
        let index = self.index(context)?;
        let text =
            op::on_cores(|| -> Result<Vec<f32>, EngineError> { Ok(clip.texts(&[caption])?.flatten_all()?.to_vec1()?) });
        let best = index.nearest(&text.map_err(work_error)?, self.keep)?;
        let positions = best.iter().filter_map(|(_, at)| IdxSize::try_from(*at).ok()).collect();
        let rows = index.rows.take(&IdxCa::from_vec("row".into(), positions))?;
        let (licences, digests) = (rows.column("licence")?.str()?, rows.column("file_digest")?.str()?);
        let read = self.reader.read(&rows, &Limits::default())?;
        let mut donors = Vec::with_capacity(best.len());
        for (at, (bytes, (score, found))) in read.into_iter().zip(best).enumerate() {
            let bytes = match bytes {
                Ok(bytes) if digests.get(at) == Some(Digest::of(&bytes).to_hex().as_str()) => bytes,
                Ok(_) => {
                    let message = "a picture of the index was changed after it was looked at: run it again";
                    return Ok(Err(Fault::new(ErrorClass::Unreadable, message)));
                }
                Err(fault) => return Ok(Err(fault)),
            };
            let of = Of::Picture(index.ids.get(found).cloned().unwrap_or_default());
            let rank = u32::try_from(at).unwrap_or(u32::MAX);
            let licence = licences.get(at).map(ToOwned::to_owned);
            donors.push(Donor { row, pair_id: pair.to_owned(), rank, score, licence, of, bytes });
        }
        Ok(Ok(donors))
    }

    fn index(&self, context: &WorkContext) -> Result<Arc<Index>, WorkError> {
        let digests: Vec<Digest> = context.shards(TABLE).iter().map(|shard| shard.digest).collect();
        let mut last = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, index)) = last.as_ref().filter(|(known, _)| *known == digests) {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(Index::new(context.table(TABLE, Some(&COLUMNS))?)?);
        *last = Some((digests, Arc::clone(&index)));
        Ok(index)
    }
}

impl Index {
    /// Of `rows` in any order: a picture that stands there twice counts once.
    pub(super) fn new(rows: DataFrame) -> Result<Self, WorkError> {
        let rows = rows.sort(["picture_id", "key"], SortMultipleOptions::default())?;
        let mut seen = BTreeSet::new();
        let ids = rows.column("picture_id")?.str()?;
        let first: Vec<IdxSize> =
            (0..).zip(ids.iter()).filter(|(_, id)| seen.insert(id.unwrap_or_default())).map(|(at, _)| at).collect();
        let rows = rows.take(&IdxCa::from_vec("row".into(), first))?;
        let ids = rows.column("picture_id")?.str()?.iter().map(|id| id.unwrap_or_default().to_owned()).collect();
        let (mut embeddings, mut width) = (Vec::new(), 0);
        for bytes in rows.column("embedding")?.binary()?.iter() {
            let numbers = bytes.unwrap_or_default().chunks_exact(4);
            width = numbers.len();
            embeddings.extend(numbers.map(|four| f32::from_le_bytes(four.try_into().unwrap_or_default())));
        }
        if embeddings.len() != rows.height() * width {
            return Err(WorkError::Systemic("the index holds vectors of several widths".to_owned()));
        }
        Ok(Self { rows, ids, embeddings, width })
    }

    /// The `keep` greatest cosines with `text`, with the numbers of their pictures; of equal ones the lesser id comes first, so
    /// that nothing depends on threads or shards.
    pub(super) fn nearest(&self, text: &[f32], keep: usize) -> Result<Vec<(f32, usize)>, WorkError> {
        if text.len() != self.width && !self.ids.is_empty() {
            let message = format!("texts have {} numbers, pictures of the index {}", text.len(), self.width);
            return Err(WorkError::Systemic(message));
        }
        let block = |(block, rows): (usize, &[f32])| {
            let scored = rows.chunks_exact(self.width.max(1)).enumerate();
            let mut best: Vec<(f32, usize)> = scored.map(|(at, row)| (dot(row, text), block * BLOCK + at)).collect();
            best.sort_by(order);
            best.truncate(keep);
            best
        };
        let blocks = self.embeddings.par_chunks(BLOCK * self.width.max(1)).enumerate();
        let mut best: Vec<(f32, usize)> = blocks.flat_map_iter(block).collect();
        best.sort_by(order);
        best.truncate(keep);
        Ok(best)
    }
}

/// Greater first; pictures stand in the order of their ids.
fn order((one, first): &(f32, usize), (other, second): &(f32, usize)) -> std::cmp::Ordering {
    other.total_cmp(one).then(first.cmp(second))
}

/// Summed in a fixed order, eight sums at a time.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (one, other) in one.chunks(8).zip(other.chunks(8)) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    sums.iter().sum()
}
