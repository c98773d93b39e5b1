//! Images that were made, as rows of `candidates` and `candidate_references`, and what was said before they were, as rows of
//! `candidate_replies`.

use std::collections::BTreeMap;

use cafe_pipeline::digest::{Hasher, Seed};
use cafe_pipeline::stage::ROW;
use image::RgbImage;
use polars::prelude::*;

use crate::picture::{self, Fault};
use crate::{ids, tables};

/// What all candidates of a stage have in common.
pub(super) struct Made {
    pub(super) weights_digest: String,
    pub(super) settings_digest: String,
    pub(super) round: u32,
    pub(super) generator: &'static str,
}

/// An image, and what tells it from the others of its row.
pub(super) struct Sample {
    pub(super) alpha: Option<f64>,
    pub(super) index: u32,
    pub(super) seed: u64,
    pub(super) image: RgbImage,
    /// What was said, where an assistant was asked.
    pub(super) said: Option<Said>,
}

/// What the assistant was told and what it replied, before the image was drawn.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) told: String,
    pub(super) reply: String,
    /// Whether it had more to say.
    pub(super) is_cut: bool,
    /// Tokens that were read, the picture's among them.
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// A row of `candidates` without its id.
pub(super) struct Candidate {
    row: u32,
    pair_id: String,
    w_id: Option<String>,
    reference_id: String,
    alpha: Option<f64>,
    index: u32,
    seed: u64,
    png: Vec<u8>,
    said: Option<Said>,
}

/// From where an image came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) row: u32,
    pub(super) pair_id: &'a str,
    pub(super) w_id: Option<&'a str>,
    pub(super) reference_id: &'a str,
}

impl Candidate {
    /// `sample`, made of the row `of`.
    pub(super) fn new(of: Origin<'_>, sample: &Sample) -> Result<Self, Fault> {
        Ok(Self {
            row: of.row,
            pair_id: of.pair_id.to_owned(),
            w_id: of.w_id.map(ToOwned::to_owned),
            reference_id: of.reference_id.to_owned(),
            alpha: sample.alpha,
            index: sample.index,
            seed: sample.seed,
            png: picture::png(&sample.image)?,
            said: sample.said.clone(),
        })
    }
}

impl Made {
    /// Table → its rows. `trained` is the digest of weights that took the place of the family's.
    pub(super) fn tables(
        &self,
        made: &[Candidate],
        trained: Option<&str>,
        seed: Seed,
    ) -> PolarsResult<BTreeMap<String, DataFrame>> {
        let weights_digest = match trained {
            None => self.weights_digest.clone(),
            Some(trained) => {
                let hasher = Hasher::new("trained-weights/v1").text("family", &self.weights_digest);
                hasher.text("trained", trained).digest().to_hex()
            }
        };
        let n = made.len();
        let text = |name: &str, value: fn(&Candidate) -> Option<&str>| {
            Column::new(name.into(), made.iter().map(value).collect::<Vec<Option<&str>>>())
        };
        let same = |name: &str, value: &str| Column::new(name.into(), vec![value; n]);
        let rows = Column::new(ROW.into(), made.iter().map(|one| one.row).collect::<Vec<u32>>());
        let mut candidates = DataFrame::new(
            n,
            vec![
                text("pair_id", |one| Some(&one.pair_id)),
                text("w_id", |one| one.w_id.as_deref()),
                same("generator", self.generator),
                same("weights_digest", &weights_digest),
                same("settings_digest", &self.settings_digest),
                Column::new("round".into(), vec![self.round; n]),
                Column::new("alpha".into(), made.iter().map(|one| one.alpha).collect::<Vec<Option<f64>>>()),
                Column::new("sample_index".into(), made.iter().map(|one| one.index).collect::<Vec<u32>>()),
                Column::new("seed".into(), made.iter().map(|one| one.seed).collect::<Vec<u64>>()),
            ],
        )?;
        let ids = ids::candidate_ids(&candidates, seed)?;
        candidates.with_column(tables::images(
            made.iter().zip(&ids).map(|(one, id)| (one.png.as_slice(), format!("{id}.png"))),
        )?)?;
        let references = DataFrame::new(
            n,
            vec![
                Column::new("candidate_id".into(), ids.as_slice()),
                Column::new("slot".into(), vec![0_u32; n]),
                text("reference_id", |one| Some(&one.reference_id)),
                rows.clone(),
            ],
        )?;
        let replies = replies(made, &ids)?;
        candidates.with_column(Column::new("candidate_id".into(), ids))?;
        candidates.with_column(rows)?;
        let made = [(tables::CANDIDATES, candidates), (tables::CANDIDATE_REFERENCES, references)];
        let made = made.into_iter().chain(replies.map(|replies| (tables::CANDIDATE_REPLIES, replies)));
        Ok(made.map(|(name, rows)| (name.to_owned(), rows)).collect())
    }
}

/// The rows of `candidate_replies`; `None` where nothing was said.
fn replies(made: &[Candidate], ids: &[String]) -> PolarsResult<Option<DataFrame>> {
    let said = made.iter().zip(ids).filter_map(|(one, id)| Some((one.said.as_ref()?, id.as_str(), one.row)));
    let said: Vec<(&Said, &str, u32)> = said.collect();
    if said.is_empty() {
        return Ok(None);
    }
    let text = |name: &str, value: fn(&Said) -> &str| {
        Column::new(name.into(), said.iter().map(|(said, ..)| value(said)).collect::<Vec<&str>>())
    };
    let count = |name: &str, value: fn(&Said) -> u64| {
        Column::new(name.into(), said.iter().map(|(said, ..)| value(said)).collect::<Vec<u64>>())
    };
    let replies = DataFrame::new(
        said.len(),
        vec![
            Column::new("candidate_id".into(), said.iter().map(|(_, id, _)| *id).collect::<Vec<&str>>()),
            text("told", |said| &said.told),
            text("reply", |said| &said.reply),
            Column::new("is_cut".into(), said.iter().map(|(said, ..)| said.is_cut).collect::<Vec<bool>>()),
            count("prompt_tokens", |said| said.prompt_tokens),
            count("completion_tokens", |said| said.completion_tokens),
            Column::new(ROW.into(), said.iter().map(|(_, _, row)| *row).collect::<Vec<u32>>()),
        ],
    );
    replies.map(Some)
}
