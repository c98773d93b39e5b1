//! Candidates by ProFusion (arXiv 2305.13579).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cafe_engine::cafe::{Family, Role};
use cafe_engine::profusion::{
    HOLDER, ProFusionEngine, ProFusionFolders, ProFusionSettings, Subject, TuneCache, TuneSettings,
};
use cafe_engine::{Device, EngineError, op};
use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{ErrorClass, WorkError};
use image::RgbImage;

use super::candidates::Sample;
use super::recent::Recent;
use crate::models::{Loaded, work_error};

/// A base model with PromptNet, tuned to each reference.
pub(super) struct ProFusion {
    family: PathBuf,
    tuning: TuneSettings,
    settings: ProFusionSettings,
    engine: Loaded<ProFusionEngine>,
    tuned: Recent<Subject>,
    /// Held while one is tuned: two pairs of one reference do not tune it twice, and gradients and moments are in memory once.
    turn: Mutex<()>,
}

/// A reference, and the words of one of its pairs.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) reference_id: &'a str,
    pub(super) reference: &'a RgbImage,
    pub(super) class: &'a str,
    pub(super) caption: &'a str,
}

impl ProFusion {
    pub(super) fn new(family: PathBuf, tuning: TuneSettings, settings: ProFusionSettings) -> Self {
        Self { family, tuning, settings, engine: Loaded::default(), tuned: Recent::default(), turn: Mutex::default() }
    }

    /// An image for each sample. `seeds` are the run's and the row's own; what is tuned is kept in `cache`, where every process and
    /// every later run finds it.
    pub(super) fn make(
        &self,
        seeds: (Seed, Seed),
        samples: u32,
        asked: Asked<'_>,
        cache: &Path,
    ) -> Result<Vec<Sample>, WorkError> {
        let prompt = with_slot(asked.caption, asked.class)?;
        let engine = self.engine.get(|| ProFusionEngine::load(&folders(&self.family)?, &Device::Cpu))?;
        let drawn: Vec<u64> = (0..samples).map(|index| seeds.1.child(&index.to_string()).0).collect();
        let subject = self.subject(engine, seeds.0, asked, cache).map_err(work_error)?;
        let images = op::on_cores(|| engine.generate(&subject, &[], &prompt, &drawn, &self.settings, &|_, _| {}));
        let images: Vec<RgbImage> = images.map_err(work_error)?;
        let sample = |((index, seed), image)| Sample { alpha: None, index, seed, image, said: None };
        Ok((0..).zip(drawn).zip(images).map(sample).collect())
    }

    fn subject(
        &self,
        engine: &ProFusionEngine,
        seed: Seed,
        asked: Asked<'_>,
        cache: &Path,
    ) -> Result<Arc<Subject>, EngineError> {
        let key = format!("{} {}", asked.reference_id, asked.class);
        // Who has been tuned to waits for nobody's tuning.
        if let Some(subject) = self.tuned.find(&key) {
            return Ok(subject);
        }
        // Never inside `on_cores`: a thread of the pool that waits for a part of its work takes up another row's meanwhile, and
        // would wait for a lock that it holds itself.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subject) = self.tuned.find(&key) {
            return Ok(subject);
        }
        let subject = op::on_cores(|| {
            if self.tuning.n_iterations == 0 {
                return engine.untuned(asked.reference, asked.class);
            }
            let settings = TuneSettings { seed: seed.child("tune").child(asked.reference_id).0, ..self.tuning.clone() };
            let cache = TuneCache::open(cache)?;
            engine.tune(asked.reference, None, asked.class, &settings, Some(&cache), &|_, _| {})
        });
        Ok(self.tuned.keep(key, subject?))
    }
}

fn folders(family: &Path) -> Result<ProFusionFolders, EngineError> {
    let family = Family::open(family)?;
    let promptnet = family.folder(Role::PromptNet);
    let image_encoder = promptnet.join("image_encoder");
    Ok(ProFusionFolders { base: family.folder(Role::TextToImage), promptnet, image_encoder })
}

/// `caption` with the subject's token in the place of `class`.
fn with_slot(caption: &str, class: &str) -> Result<String, WorkError> {
    let place = (!class.is_empty()).then(|| find_word(caption, class)).flatten().ok_or_else(|| {
        let message =
            format!("the caption \"{caption}\" does not name the class `{class}`, whose place the subject takes");
        WorkError::poison(ErrorClass::Invalid, message)
    })?;
    let (before, after) = (caption.get(..place), caption.get(place + class.len()..));
    Ok(format!("{}{HOLDER}{}", before.unwrap_or_default(), after.unwrap_or_default()))
}

/// Where `word` first stands in `text` as a word of its own.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let is_part = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    text.match_indices(word).map(|(place, _)| place).find(|place| {
        let (before, after) = (text.get(..*place), text.get(place + word.len()..));
        let before = before.and_then(|before| before.chars().next_back());
        !is_part(before) && !is_part(after.and_then(|after| after.chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_ask_for_one_subject_at_once_all_get_it() {
        let family = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini/family"));
        let tuning = TuneSettings { n_augmentations: 1, n_iterations: 1, batch_size: 1, ..TuneSettings::default() };
        let mut settings = ProFusionSettings::default();
        settings.fusion.n_steps = 1;
        let profusion = ProFusion::new(family, tuning, settings);
        let cache = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, 128]));
        let make = |pair: &str| {
            let asked = Asked { reference_id: "one", reference: &picture, class: "toy", caption: "a toy" };
            let made = profusion.make((Seed(1), Seed(2).child(pair)), 1, asked, cache.path()).unwrap();
            made.into_iter().map(|sample| sample.image.into_raw()).collect::<Vec<_>>()
        };
        let pairs = ["a", "b", "c", "d", "e", "f"];
        let together: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = pairs.iter().map(|pair| scope.spawn(|| make(pair))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(together, pairs.map(make));
    }

    #[test]
    fn the_token_takes_the_place_of_the_class() {
        assert_eq!(with_slot("a cat on a catwalk", "cat").unwrap(), "a holder on a catwalk");
        assert_eq!(with_slot("concatenated cat", "cat").unwrap(), "concatenated holder");
        assert_eq!(with_slot("a teddy bear", "teddy bear").unwrap(), "a holder");
        for (caption, class) in [("a dog", "cat"), ("a dog", ""), ("cats", "cat")] {
            assert!(matches!(with_slot(caption, class), Err(WorkError::Poison { .. })), "{caption}");
        }
    }
}
