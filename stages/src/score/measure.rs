//! The scorers that need no model: background, sharpness, and a perceptual hash.

use std::collections::BTreeMap;

use cafe_engine::Device;
use cafe_engine::picture::{Filter, ImageProcessor, Resize};
use cafe_pipeline::stage::{BatchOutcome, ErrorClass, ROW, RowWork, TableDecl, WorkContext, WorkError};
use image::RgbImage;
use polars::prelude::*;
use rayon::prelude::*;

use super::compile::ID;
use super::config::Scorer;
use super::known::{Known, Vector};
use super::rows::{Joined, Joins, Refused, Rows, decode, ids, split};
use crate::measure::ImageStats;
use crate::phash::phash;
use crate::picture::Limits;

/// The side of the pictures whose borders are compared.
const SIDE_PX: u32 = 32;

/// The width of the border: with 4 of 32 pixels on each side it is 44 % of a picture, and the subject, which stands in
/// the middle, is hardly in it.
const BORDER_PX: u32 = 4;

/// The work of a node `background`, `sharpness` or `phash`.
pub(super) struct MeasureWork {
    scorer: Scorer,
    limits: Limits,
    joins: Joins,
    table: TableDecl,
    borders: Known,
}

/// A score of one of the kinds that there are.
enum Value {
    Similarity(f32),
    Sharpness(f64),
    Hash(String),
}

impl MeasureWork {
    pub(super) fn new(scorer: Scorer, limits: Limits, joined: Joined, table: TableDecl) -> Self {
        Self { scorer, limits, joins: Joins::new(joined), table, borders: Known::default() }
    }

    fn value(&self, rows: &Rows, row: usize) -> Result<Value, Refused> {
        let picture = self.picture(rows.image(row)?, "the candidate")?;
        match self.scorer {
            Scorer::Sharpness => Ok(Value::Sharpness(ImageStats::of(&picture).sharpness)),
            Scorer::Phash => phash(&picture).map(Value::Hash).map_err(invalid),
            _ => {
                let (id, file) = rows.reference(row)?;
                let reference = match self.borders.get(id) {
                    Some(known) => known,
                    None => {
                        let made = border(&self.picture(file, "the reference")?).map_err(invalid)?;
                        self.borders.put(id, made.clone());
                        made
                    }
                };
                Ok(Value::Similarity(similarity(&border(&picture).map_err(invalid)?, &reference)))
            }
        }
    }

    fn picture(&self, file: &[u8], what: &str) -> Result<RgbImage, Refused> {
        decode(file, &self.limits).map_err(|fault| (fault.class, format!("{what}: {}", fault.message)))
    }
}

fn invalid(message: String) -> Refused {
    (ErrorClass::Invalid, message)
}

/// The pixels of the border of `image` at [`SIDE_PX`]², in 0..=1.
fn border(image: &RgbImage) -> Result<Vector, String> {
    let processor = ImageProcessor {
        resize: Some((Resize::Exactly { height: SIDE_PX, width: SIDE_PX }, Filter::Bilinear)),
        crop: None,
        rescale_factor: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let pixels = processor.process(image, &Device::Cpu).map_err(|error| error.to_string())?;
    let pixels: Vec<f32> =
        pixels.flatten_all().and_then(|pixels| pixels.to_vec1()).map_err(|error| error.to_string())?;
    let inner = BORDER_PX..SIDE_PX - BORDER_PX;
    let is_border = |index: u32| {
        let (x, y) = (index % SIDE_PX, index / SIDE_PX % SIDE_PX);
        !(inner.contains(&x) && inner.contains(&y))
    };
    Ok((0..).zip(pixels).filter(|(index, _)| is_border(*index)).map(|(_, value)| value).collect())
}

/// One less the root of the mean square of differences: 1 for the same border, 0 for black and white.
fn similarity(one: &[f32], other: &[f32]) -> f32 {
    let squares: f64 = one.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (1.0 - (squares / one.len().max(1) as f64).sqrt()) as f32
}

impl RowWork for MeasureWork {
    fn row_id(&self) -> &str {
        ID
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(Joins::columns())
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        self.joins.add(context, rows)
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        context.cancel.check()?;
        let view = Rows::of(rows)?;
        let found = (0..view.n()).into_par_iter().map(|row| self.value(&view, row)).collect();
        let (kept, values, quarantined) = split(found);
        let name = self.table.columns.iter_names().nth(1).cloned().unwrap_or_default();
        let scores = match self.scorer {
            Scorer::Sharpness => Column::new(name, values.iter().map(Value::sharpness).collect::<Vec<_>>()),
            Scorer::Phash => Column::new(name, values.iter().map(Value::hash).collect::<Vec<_>>()),
            _ => Column::new(name, values.iter().map(Value::similarity).collect::<Vec<_>>()),
        };
        let columns = vec![ids(rows, &kept)?, scores, Column::new(ROW.into(), kept)];
        let tables = BTreeMap::from([(self.table.name.clone(), DataFrame::new(values.len(), columns)?)]);
        Ok(BatchOutcome { tables, quarantined, ..BatchOutcome::default() })
    }
}

impl Value {
    fn similarity(&self) -> Option<f32> {
        if let Self::Similarity(value) = self { Some(*value) } else { None }
    }

    fn sharpness(&self) -> Option<f64> {
        if let Self::Sharpness(value) = self { Some(*value) } else { None }
    }

    fn hash(&self) -> Option<&str> {
        if let Self::Hash(value) = self { Some(value) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn only_borders_count() {
        let on = |background: u8, subject: u8| {
            let picture = RgbImage::from_fn(64, 64, |x, y| {
                let is_subject = (12..52).contains(&x) && (12..52).contains(&y);
                Rgb([if is_subject { subject } else { background }; 3])
            });
            border(&picture).unwrap()
        };
        assert_eq!(on(0, 9).len() as u32, 3 * (SIDE_PX.pow(2) - (SIDE_PX - 2 * BORDER_PX).pow(2)));
        assert_eq!(similarity(&on(200, 0), &on(200, 255)), 1.0);
        assert_eq!(similarity(&on(0, 90), &on(255, 90)), 0.0);
        let half = similarity(&on(0, 90), &on(51, 90));
        assert!((half - 0.8).abs() < 1e-6, "{half}");
    }
}
