//! Pairs in, donors out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cafe_engine::cafe::{Family, SamplerSettings, TextToImage};
use cafe_engine::{Device, EngineError, op};
use cafe_pipeline::digest::{Hasher, Seed};
use cafe_pipeline::stage::{
    BatchOutcome, Cost, ErrorClass, FanOut, QuarantinedRow, ROW, RowWork, WorkContext, WorkError,
};
use image::RgbImage;
use polars::prelude::*;

use crate::clip::Clip;
use crate::models::{Loaded, work_error};
use crate::picture::{self, Fault};
use crate::tables;

/// The work of a `retrieve` node.
pub(super) struct RetrieveWork {
    pub(super) family: PathBuf,
    pub(super) weights_digest: String,
    pub(super) settings_digest: String,
    pub(super) tries: u32,
    pub(super) keep: usize,
    pub(super) text_scale: f64,
    pub(super) sampling: SamplerSettings,
    pub(super) deadline: Duration,
    pub(super) models: Loaded<Models>,
}

/// What draws, and what ranks.
pub(super) struct Models {
    base: TextToImage,
    clip: Clip,
}

impl Models {
    fn load(folder: &Path) -> Result<Self, EngineError> {
        let family = Family::open(folder)?;
        Ok(Self { base: TextToImage::load(&family, &Device::Cpu)?, clip: Clip::load(&family)? })
    }
}

/// A picture w of a pair.
struct Donor {
    row: u32,
    pair_id: String,
    w_id: String,
    rank: u32,
    seed: u64,
    score: f32,
    png: Vec<u8>,
}

impl RowWork for RetrieveWork {
    fn row_id(&self) -> &str {
        "pair_id"
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["pair_id".to_owned(), "caption".to_owned()])
    }

    fn batch_rows(&self) -> usize {
        8
    }

    fn journaled(&self) -> bool {
        true
    }

    fn row_deadline(&self) -> Duration {
        self.deadline
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let models = self.models.get(|| Models::load(&self.family))?;
        let (pairs, captions) = (rows.column("pair_id")?.str()?, rows.column("caption")?.str()?);
        let mut outcome = BatchOutcome::default();
        let mut donors = Vec::new();
        let began = Instant::now();
        for (row, (pair, caption)) in (0_u32..).zip(pairs.iter().zip(captions.iter())) {
            context.cancel.check()?;
            let (Some(pair), Some(caption)) = (pair, caption) else {
                let message = "the pair has no id or no caption".to_owned();
                outcome.quarantined.push(QuarantinedRow { row, class: ErrorClass::Invalid, message });
                continue;
            };
            let made = op::on_cores(|| self.draw(models, context.seed, pair, caption)).map_err(work_error)?;
            outcome.cost.n_tries += u64::from(self.tries);
            match self.kept(row, pair, made) {
                Ok(mut kept) => donors.append(&mut kept),
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let device_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcome.cost += Cost { device_ms, ..Cost::default() };
        outcome.tables = BTreeMap::from([(tables::DONORS.to_owned(), self.table(&donors)?)]);
        Ok(outcome)
    }
}

impl RetrieveWork {
    /// All tries, with their seeds and scores. A pair's tries are one batch, whatever other pairs there are.
    fn draw(
        &self,
        models: &Models,
        seed: Seed,
        pair: &str,
        caption: &str,
    ) -> Result<Vec<(u64, f32, RgbImage)>, EngineError> {
        let of_pair = seed.child("retrieve").child(pair);
        let seeds: Vec<u64> = (0..self.tries).map(|n| of_pair.child(&n.to_string()).0).collect();
        let prompts = vec![caption.to_owned(); seeds.len()];
        let images = models.base.generate(&prompts, &seeds, self.text_scale, &self.sampling, &|_, _| {})?;
        let scores = models.clip.cosines(&images, &[caption])?.into_iter().flatten();
        Ok(seeds.into_iter().zip(scores).zip(images).map(|((seed, score), image)| (seed, score, image)).collect())
    }

    /// The best of them; of equal scores the one that was drawn first.
    fn kept(&self, row: u32, pair: &str, mut made: Vec<(u64, f32, RgbImage)>) -> Result<Vec<Donor>, Fault> {
        made.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
        let best = made.into_iter().take(self.keep);
        (0_u32..)
            .zip(best)
            .map(|(rank, (seed, score, image))| {
                let w_id = Hasher::new("donor/v1")
                    .text("pair_id", pair)
                    .text("weights_digest", &self.weights_digest)
                    .text("settings_digest", &self.settings_digest)
                    .number("seed", seed)
                    .row_id();
                Ok(Donor { row, pair_id: pair.to_owned(), w_id, rank, seed, score, png: picture::png(&image)? })
            })
            .collect()
    }

    fn table(&self, donors: &[Donor]) -> PolarsResult<DataFrame> {
        let n = donors.len();
        let text = |name: &str, value: fn(&Donor) -> &str| {
            Column::new(name.into(), donors.iter().map(value).collect::<Vec<&str>>())
        };
        let same = |name: &str, value: &str| Column::new(name.into(), vec![value; n]);
        DataFrame::new(
            n,
            vec![
                text("w_id", |donor| &donor.w_id),
                text("pair_id", |donor| &donor.pair_id),
                same("source", "generated"),
                Column::new("rank".into(), donors.iter().map(|donor| donor.rank).collect::<Vec<u32>>()),
                Column::new("seed".into(), donors.iter().map(|donor| donor.seed).collect::<Vec<u64>>()),
                same("weights_digest", &self.weights_digest),
                same("settings_digest", &self.settings_digest),
                // What a model drew has the licence of nobody's picture.
                Column::full_null("licence".into(), n, &DataType::String),
                Column::new("clip_score".into(), donors.iter().map(|donor| donor.score).collect::<Vec<f32>>()),
                tables::images(donors.iter().map(|donor| (donor.png.as_slice(), format!("{}.png", donor.w_id))))?,
                Column::new(ROW.into(), donors.iter().map(|donor| donor.row).collect::<Vec<u32>>()),
            ],
        )
    }
}
