//! Candidates by Eq. 4.

use std::path::PathBuf;

use cafe_engine::cafe::{CafeEngine, Family, Role, SamplerSettings, mix};
use cafe_engine::noise::Guidance;
use cafe_engine::unet::CafeConditioning;
use cafe_engine::{Device, EngineError, Tensor, op};
use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::WorkError;
use image::RgbImage;

use super::candidates::Sample;
use super::recent::Recent;
use super::seen::Seen;
use super::trained::Trained;
use crate::models::{Loaded, work_error};

/// CAFE's own model.
pub(super) struct Sid {
    family: PathBuf,
    alphas: Vec<f64>,
    guidance: Guidance,
    sampling: SamplerSettings,
    /// With the digest of the weights that it has instead of the family's.
    engine: Loaded<(Option<String>, CafeEngine)>,
    seen: Recent<Seen>,
}

impl Sid {
    pub(super) fn new(family: PathBuf, alphas: Vec<f64>, guidance: Guidance, sampling: SamplerSettings) -> Self {
        Self { family, alphas, guidance, sampling, engine: Loaded::default(), seen: Recent::default() }
    }

    /// How many α are swept.
    pub(super) fn n_alphas(&self) -> usize {
        self.alphas.len()
    }

    /// An image for each α and sample, in this order. `seed` is the row's own. All of a row are one batch, whatever other rows
    /// there are; a sample's noise is the same for each α, so that in a sweep nothing else changes.
    pub(super) fn make(
        &self,
        (seed, samples): (Seed, u32),
        trained: Option<&Trained>,
        (reference_id, reference): (&str, &RgbImage),
        donor: &RgbImage,
    ) -> Result<Vec<Sample>, WorkError> {
        let engine = self.engine(trained)?;
        let places: Vec<(f64, u32)> =
            self.alphas.iter().flat_map(|alpha| (0..samples).map(|index| (*alpha, index))).collect();
        let seeds: Vec<u64> = places.iter().map(|(_, index)| seed.child(&index.to_string()).0).collect();
        let images = op::on_cores(|| -> Result<Vec<RgbImage>, EngineError> {
            let seen = self.seen.of(engine.encoders(), reference_id, reference)?;
            let clip_w = engine.encoders().clip(std::slice::from_ref(donor))?; // (1, D_clip)
            let clip: Vec<Tensor> =
                places.iter().map(|(alpha, _)| mix(&clip_w, &seen.clip, *alpha)).collect::<Result<_, _>>()?;
            let conditions = CafeConditioning {
                clip: Tensor::cat(&clip, 0)?,                           // (B, D_clip)
                dino: Tensor::cat(&vec![&seen.dino; places.len()], 0)?, // (B, 1 + N, D_dino)
            };
            engine.generate(&conditions, &seeds, &self.guidance, &self.sampling, &|_, _| {})
        });
        let images = images.map_err(work_error)?;
        let sample = |(((alpha, index), seed), image)| Sample { alpha: Some(alpha), index, seed, image, said: None };
        Ok(places.into_iter().zip(seeds).zip(images).map(sample).collect())
    }

    fn engine(&self, trained: Option<&Trained>) -> Result<&CafeEngine, WorkError> {
        let wanted = trained.map(|trained| trained.digest.clone());
        let (loaded, engine) = self.engine.get(|| {
            let mut family = Family::open(&self.family)?;
            if let Some(trained) = trained {
                family = family.with(Role::CafeUNet, trained.folder.clone());
            }
            Ok((wanted.clone(), CafeEngine::load(&family, &Device::Cpu)?))
        })?;
        if *loaded == wanted {
            Ok(engine)
        } else {
            Err(WorkError::Unavailable("the weights were trained again while they were in use".to_owned()))
        }
    }
}
