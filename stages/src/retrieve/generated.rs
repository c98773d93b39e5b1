//! w of the base text-to-image model.

use std::path::{Path, PathBuf};

use cafe_engine::cafe::{Family, SamplerSettings, TextToImage};
use cafe_engine::{Device, EngineError, op};
use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::WorkError;
use image::RgbImage;

use super::donors::{Donor, Of};
use crate::clip::Clip;
use crate::models::{Loaded, work_error};
use crate::picture::{self, Fault};

/// Draws captions, several times each, and keeps what CLIP finds nearest to them.
pub(super) struct Generated {
    pub(super) family: PathBuf,
    pub(super) tries: u32,
    pub(super) keep: usize,
    pub(super) text_scale: f64,
    pub(super) sampling: SamplerSettings,
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

impl Generated {
    /// The best of a pair's tries; of equal scores the one that was drawn first. A pair's tries are one batch, whatever other pairs
    /// there are.
    pub(super) fn donors(
        &self,
        seed: Seed,
        row: u32,
        pair: &str,
        caption: &str,
    ) -> Result<Result<Vec<Donor>, Fault>, WorkError> {
        let models = self.models.get(|| Models::load(&self.family))?;
        let mut made =
            op::on_cores(|| self.draw(models, seed.child("retrieve").child(pair), caption)).map_err(work_error)?;
        made.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
        let best = (0_u32..).zip(made.into_iter().take(self.keep));
        let donor = |(rank, (seed, score, image)): (u32, (u64, f32, RgbImage))| {
            // What a model drew has the licence of nobody's picture.
            let (pair_id, licence, bytes) = (pair.to_owned(), None, picture::png(&image)?);
            Ok(Donor { row, pair_id, rank, score, licence, of: Of::Seed(seed), bytes })
        };
        Ok(best.map(donor).collect())
    }

    /// All tries, with their seeds and scores.
    fn draw(&self, models: &Models, seed: Seed, caption: &str) -> Result<Vec<(u64, f32, RgbImage)>, EngineError> {
        let seeds: Vec<u64> = (0..self.tries).map(|n| seed.child(&n.to_string()).0).collect();
        let prompts = vec![caption.to_owned(); seeds.len()];
        let images = models.base.generate(&prompts, &seeds, self.text_scale, &self.sampling, &|_, _| {})?;
        let scores = models.clip.cosines(&images, &[caption])?.into_iter().flatten();
        Ok(seeds.into_iter().zip(scores).zip(images).map(|((seed, score), image)| (seed, score, image)).collect())
    }
}
