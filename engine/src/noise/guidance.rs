//! Classifier-free guidance under two conditions that were dropped independently in training.

use candle_core::{Result as TensorResult, Tensor};
use serde::{Deserialize, Serialize};

use crate::{EngineError, Result};

/// Which conditions the model is given in one of its evaluations; the others are null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Branch {
    /// Whether it sees the CLIP condition, c.
    pub clip: bool,
    /// Whether it sees the DINO patches, e.
    pub dino: bool,
}

impl Branch {
    /// Neither condition.
    pub const NONE: Self = Self { clip: false, dino: false };
    /// The CLIP condition alone.
    pub const CLIP: Self = Self { clip: true, dino: false };
    /// The DINO patches alone.
    pub const DINO: Self = Self { clip: false, dino: true };
    /// Both conditions.
    pub const BOTH: Self = Self { clip: true, dino: true };
}

/// Which condition comes first in [`Guidance::Nested`]: the second is guided given the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The DINO patches, then the CLIP condition.
    DinoFirst,
    /// The CLIP condition, then the DINO patches.
    ClipFirst,
}

/// How predictions under some of the conditions make one. A scale of 1 is what the model predicts, more exaggerates.
///
/// ε(c, e) is the prediction under the CLIP condition c and the DINO patches e; ∅ is null. All forms but the normalised are
/// linear: a sum of predictions with weights that add up to 1. The paper names none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Guidance {
    /// ε(c, e).
    None,
    /// ε(∅, ∅) + w·(ε(c, e) - ε(∅, ∅)) (arXiv 2207.12598).
    Joint {
        /// w.
        scale: f64,
    },
    /// DINO first: ε(∅, ∅) + s_e·(ε(∅, e) - ε(∅, ∅)) + s_c·(ε(c, e) - ε(∅, e)); CLIP first is the mirror image
    /// (InstructPix2Pix, arXiv 2211.09800, Equation 3).
    Nested {
        /// s_e.
        dino_scale: f64,
        /// s_c.
        clip_scale: f64,
        /// Which condition comes first.
        order: Order,
    },
    /// ε(∅, ∅) + s_e·(ε(∅, e) - ε(∅, ∅)) + s_c·(ε(c, ∅) - ε(∅, ∅)) (ProFusion, arXiv 2305.13579).
    Independent {
        /// s_e.
        dino_scale: f64,
        /// s_c.
        clip_scale: f64,
    },
    /// ε(∅, e) + (s_e - 1)·d_e + s_c·d_c, where the longer of d_e = ε(∅, e) - ε(∅, ∅) and d_c = ε(c, e) - ε(∅, e) is
    /// shortened to the length of the other, row by row: nested guidance in which neither condition drowns the other, and
    /// which over-exposes less (SynCD, arXiv 2502.01720; its code counts the image's scale from 0, which is 1 here).
    Normalised {
        /// s_e.
        dino_scale: f64,
        /// s_c.
        clip_scale: f64,
    },
}

impl Guidance {
    /// The evaluations of the model that this guidance needs, in the order in which [`Self::combine`] wants them: those
    /// without weight are left out, such as the null one when every scale is 1.
    #[must_use]
    pub fn branches(&self) -> Vec<Branch> {
        self.terms().into_iter().map(|(branch, _)| branch).collect()
    }

    /// Branches with their weights, none of them 0; of the normalised form, before anything is shortened.
    fn terms(&self) -> Vec<(Branch, f64)> {
        let terms = match *self {
            Self::None => vec![(Branch::BOTH, 1.0)],
            Self::Joint { scale } => vec![(Branch::NONE, 1.0 - scale), (Branch::BOTH, scale)],
            Self::Nested { dino_scale, clip_scale, order } => {
                let (first, first_scale, second_scale) = match order {
                    Order::DinoFirst => (Branch::DINO, dino_scale, clip_scale),
                    Order::ClipFirst => (Branch::CLIP, clip_scale, dino_scale),
                };
                vec![
                    (Branch::NONE, 1.0 - first_scale),
                    (first, first_scale - second_scale),
                    (Branch::BOTH, second_scale),
                ]
            }
            Self::Independent { dino_scale, clip_scale } => vec![
                (Branch::NONE, 1.0 - dino_scale - clip_scale),
                (Branch::DINO, dino_scale),
                (Branch::CLIP, clip_scale),
            ],
            // Lengths matter even where a weight is 0.
            Self::Normalised { dino_scale, clip_scale } if dino_scale != 1.0 || clip_scale != 0.0 => {
                return vec![
                    (Branch::NONE, 1.0 - dino_scale),
                    (Branch::DINO, dino_scale - clip_scale),
                    (Branch::BOTH, clip_scale),
                ];
            }
            Self::Normalised { .. } => vec![(Branch::DINO, 1.0)],
        };
        terms.into_iter().filter(|(_, weight)| *weight != 0.0).collect()
    }

    /// Makes one prediction of those of the [`Self::branches`], in their order, all of one shape (B, …).
    ///
    /// # Errors
    /// When there are more or fewer, scales are not finite, or of the tensors.
    pub fn combine(&self, predictions: &[Tensor]) -> Result<Tensor> {
        let terms = self.terms();
        if terms.len() != predictions.len() {
            return Err(EngineError::argument(format!(
                "{} predictions: this guidance needs {}, one per branch",
                predictions.len(),
                terms.len()
            )));
        }
        if let Some((_, weight)) = terms.iter().find(|(_, weight)| !weight.is_finite()) {
            return Err(EngineError::argument(format!("a scale of the guidance makes a weight of {weight}")));
        }
        if let (Self::Normalised { dino_scale, clip_scale }, [none, dino, both]) = (*self, predictions) {
            return Ok(normalised((none, dino, both), dino_scale, clip_scale)?);
        }
        Ok(weighted_sum(terms.into_iter().map(|(_, weight)| weight).zip(predictions))?)
    }

    /// [`Self::combine`] for predictions in one tensor (n·B, …): all rows of the first branch, then all of the second.
    ///
    /// # Errors
    /// When the first dimension is no multiple of the number of branches, or of the tensors.
    pub fn combine_stacked(&self, predictions: &Tensor) -> Result<Tensor> {
        let n_branches = self.branches().len();
        let rows = predictions.dims().first().copied().unwrap_or(0);
        if rows == 0 || !rows.is_multiple_of(n_branches) {
            return Err(EngineError::argument(format!("{rows} rows of predictions: there are {n_branches} branches")));
        }
        self.combine(&predictions.chunk(n_branches, 0)?)
    }
}

fn weighted_sum<'a>(mut terms: impl Iterator<Item = (f64, &'a Tensor)>) -> TensorResult<Tensor> {
    let (weight, tensor) = terms.next().ok_or_else(|| candle_core::Error::Msg("a sum of nothing".to_owned()))?;
    terms.try_fold((tensor * weight)?, |sum, (weight, tensor)| sum + (tensor * weight)?)
}

fn normalised(
    (none, dino, both): (&Tensor, &Tensor, &Tensor),
    dino_scale: f64,
    clip_scale: f64,
) -> TensorResult<Tensor> {
    let (to_dino, to_both) = ((dino - none)?, (both - dino)?);
    // Nothing is as long as nothing: the share of a difference of zeros does not matter, but must be finite.
    let length = |difference: &Tensor| {
        by_row(&difference.sqr()?, Tensor::sum_keepdim)?.sqrt()?.maximum(f64::from(f32::MIN_POSITIVE))
    };
    let (dino_length, both_length) = (length(&to_dino)?, length(&to_both)?);
    let least = dino_length.minimum(&both_length)?;
    let to_dino = (to_dino.broadcast_mul(&least.div(&dino_length)?)? * (dino_scale - 1.0))?;
    let to_both = (to_both.broadcast_mul(&least.div(&both_length)?)? * clip_scale)?;
    (dino + to_dino)? + to_both
}

/// A number for each row of `x` (B, …) of all that is in it: (B, 1, …).
fn by_row(x: &Tensor, reduce: impl Fn(&Tensor, usize) -> TensorResult<Tensor>) -> TensorResult<Tensor> {
    let mut shape = vec![1; x.rank()];
    if let Some(rows) = shape.first_mut() {
        *rows = x.dim(0)?;
    }
    reduce(&x.flatten_from(1)?, 1)?.reshape(shape)
}

/// Rescales what guidance made, `guided` (B, …), towards the deviation of the prediction under all conditions, `plain`
/// (B, …), row by row: by the whole way where `share` is 1, and not at all where it is 0. Guidance makes contrasts too
/// high, most of all without signal in the last timestep (arXiv 2305.08891, Section 3.4; `guidance_rescale` of diffusers).
///
/// # Errors
/// When `share` is not 0 to 1, or of the tensors.
pub fn rescale(guided: &Tensor, plain: &Tensor, share: f64) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&share) {
        return Err(EngineError::argument(format!("guidance_rescale is {share}: it must be 0 to 1")));
    }
    let deviation = |x: &Tensor| by_row(x, |rows, dim| rows.var_keepdim(dim))?.sqrt();
    let ratio = deviation(plain)?.div(&deviation(guided)?.maximum(f64::from(f32::MIN_POSITIVE))?)?;
    Ok(guided.broadcast_mul(&ratio.affine(share, 1.0 - share)?)?)
}

/// Guidance by text alone, for the base model: ε(∅) + w·(ε(text) - ε(∅)), all of one shape.
///
/// # Errors
/// Of the tensors.
pub fn guide_text(without: &Tensor, with: &Tensor, scale: f64) -> TensorResult<Tensor> {
    without + ((with - without)? * scale)?
}

#[cfg(test)]
#[path = "guidance_tests.rs"]
mod tests;
