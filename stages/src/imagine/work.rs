//! Wishes in, references out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cafe_engine::cafe::{Family, SamplerSettings, TextToImage};
use cafe_engine::{Device, EngineError, op};
use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::stage::{
    BatchOutcome, Cost, ErrorClass, Lister, QuarantinedRow, ROW, RowWork, WorkContext, WorkError,
};
use image::{DynamicImage, RgbImage};
use polars::prelude::*;

use super::compile::SLOT;
use crate::clip::Clip;
use crate::collect::Splits;
use crate::models::{Loaded, work_error};
use crate::picture::{self, Fault, Picture};
use crate::tables;

/// Every class by every prompt, so many times.
pub(super) struct Wishes {
    pub(super) classes: Vec<String>,
    pub(super) prompts: Vec<String>,
    pub(super) samples: u32,
}

impl Lister for Wishes {
    fn list(&self, _: &WorkContext) -> Result<DataFrame, WorkError> {
        let (mut ids, mut classes, mut prompts, mut samples) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for sample in 0..self.samples {
            for class in &self.classes {
                for prompt in &self.prompts {
                    let prompt = prompt.replace(SLOT, class.trim());
                    let id = Hasher::new("wish/v1").text("class", class.trim()).text("prompt", &prompt);
                    ids.push(id.number("sample", sample.into()).row_id());
                    classes.push(class.trim().to_owned());
                    prompts.push(prompt);
                    samples.push(sample);
                }
            }
        }
        Ok(df!("wish_id" => ids, "class" => classes, "prompt" => prompts, "sample" => samples)?)
    }
}

/// The work of an `imagine` node.
pub(super) struct ImagineWork {
    pub(super) family: PathBuf,
    pub(super) source: String,
    pub(super) text_scale: f64,
    pub(super) sampling: SamplerSettings,
    /// What an image could be taken for; empty where nobody asks.
    pub(super) classes: Vec<String>,
    pub(super) licence: Option<String>,
    pub(super) splits: Splits,
    pub(super) deadline: Duration,
    /// The table that the images go into.
    pub(super) table: &'static str,
    pub(super) models: Loaded<Models>,
}

/// What draws, and what looks at it.
pub(super) struct Models {
    base: TextToImage,
    clip: Option<Clip>,
}

/// A reference that was made.
struct Made {
    row: u32,
    reference_id: String,
    class: String,
    prompt: String,
    seed: u64,
    size: (u32, u32),
    png: Vec<u8>,
}

impl RowWork for ImagineWork {
    fn row_id(&self) -> &str {
        "wish_id"
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

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let models = self.models.get(|| self.load())?;
        let (ids, classes) = (rows.column("wish_id")?.str()?, rows.column("class")?.str()?);
        let prompts = rows.column("prompt")?.str()?;
        let (mut outcome, mut made, began) = (BatchOutcome::default(), Vec::new(), Instant::now());
        for (row, ((id, class), prompt)) in (0_u32..).zip(ids.iter().zip(classes.iter()).zip(prompts.iter())) {
            context.cancel.check()?;
            let (id, class, prompt) = (id.unwrap_or_default(), class.unwrap_or_default(), prompt.unwrap_or_default());
            let seed = context.seed.child("imagine").child(id).0;
            outcome.cost.n_tries += 1;
            let image = op::on_cores(|| self.draw(models, prompt, class, seed)).map_err(work_error)?;
            let finished = image.and_then(|image| finished(row, class, prompt, seed, image));
            match finished {
                Ok(one) => made.push(one),
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let device_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        outcome.cost += Cost { device_ms, ..Cost::default() };
        outcome.tables = BTreeMap::from([(self.table.to_owned(), self.rows(&made)?)]);
        Ok(outcome)
    }
}

impl ImagineWork {
    fn load(&self) -> Result<Models, EngineError> {
        let family = Family::open(Path::new(&self.family))?;
        let clip = (!self.classes.is_empty()).then(|| Clip::load(&family)).transpose()?;
        Ok(Models { base: TextToImage::load(&family, &Device::Cpu)?, clip })
    }

    /// An image, unless CLIP takes it for another class than `class`.
    fn draw(
        &self,
        models: &Models,
        prompt: &str,
        class: &str,
        seed: u64,
    ) -> Result<Result<RgbImage, Fault>, EngineError> {
        let images =
            models.base.generate(&[prompt.to_owned()], &[seed], self.text_scale, &self.sampling, &|_, _| {})?;
        if let Some(clip) = &models.clip {
            let texts: Vec<String> = self.classes.iter().map(|class| format!("a {}", class.trim())).collect();
            let cosines = clip.cosines(&images, &texts)?.concat();
            let best = self.classes.iter().zip(&cosines).max_by(|(_, one), (_, other)| one.total_cmp(other));
            if let Some((taken, _)) = best.filter(|(taken, _)| taken.trim() != class) {
                let message =
                    format!("CLIP takes it for `{taken}` rather than `{class}` (wrong_class = \"keep\" would keep it)");
                return Ok(Err(Fault::new(ErrorClass::Invalid, message)));
            }
        }
        Ok(images.into_iter().next().ok_or_else(|| Fault::new(ErrorClass::Invalid, "the model made no image")))
    }

    fn rows(&self, made: &[Made]) -> PolarsResult<DataFrame> {
        let n = made.len();
        let text = |name: &str, value: &dyn Fn(&Made) -> String| {
            Column::new(name.into(), made.iter().map(value).collect::<Vec<String>>())
        };
        let number = |name: &str, value: fn(&Made) -> u32| {
            Column::new(name.into(), made.iter().map(value).collect::<Vec<u32>>())
        };
        DataFrame::new(
            n,
            vec![
                text("reference_id", &|one| one.reference_id.clone()),
                text("file_digest", &|one| Digest::of(&one.png).to_hex()),
                text("subject_id", &|one| one.reference_id.clone()),
                text("class", &|one| one.class.clone()),
                text("caption", &|one| one.prompt.clone()),
                text("source", &|one| format!("{}, seed {}", self.source, one.seed)),
                Column::new("licence".into(), vec![self.licence.as_deref(); n]),
                text("split", &|one| self.splits.of(&one.reference_id).to_owned()),
                number("width_px", |one| one.size.0),
                number("height_px", |one| one.size.1),
                tables::images(made.iter().map(|one| (one.png.as_slice(), format!("{}.png", one.reference_id))))?,
                number(ROW, |one| one.row),
            ],
        )
    }
}

fn finished(row: u32, class: &str, prompt: &str, seed: u64, image: RgbImage) -> Result<Made, Fault> {
    let png = picture::png(&image)?;
    let size = image.dimensions();
    let picture = Picture { pixels: DynamicImage::ImageRgb8(image).into_rgba8(), is_changed: false };
    Ok(Made {
        row,
        reference_id: picture.reference_id(),
        class: class.to_owned(),
        prompt: prompt.to_owned(),
        seed,
        size,
        png,
    })
}
