//! Conditions of many evaluations: their keys and values are the same in every step, and are made once.

use candle_core::{Result, Tensor};

use super::UNet;
use super::conditioning::{CafeConditioning, Conditioning, Context, Tokens};

/// A UNet under conditions that stay. Keys and values are made in the first evaluation and kept as long as this: the
/// weights must not change meanwhile.
#[derive(Debug)]
pub struct Prepared<'a> {
    unet: &'a UNet,
    context: Context,
}

impl UNet {
    /// Prepares for many evaluations under `conditioning`.
    ///
    /// # Errors
    /// When the conditions are not those of this UNet, or of the tensors.
    pub fn prepare(&self, conditioning: &Conditioning) -> Result<Prepared<'_>> {
        let context = self.context(conditioning, Tokens::kept)?;
        Ok(Prepared { unet: self, context })
    }

    /// Prepares for many evaluations under B `conditions` in each of `branches`, which tell whether the CLIP and the DINO
    /// condition are kept: a batch of branches·B rows, all of the first branch, then all of the next. Branches share what
    /// is made of a condition.
    ///
    /// # Errors
    /// When the conditions are not those of this UNet, or of the tensors.
    pub fn prepare_branches(&self, conditions: &CafeConditioning, branches: &[(bool, bool)]) -> Result<Prepared<'_>> {
        // One more row, of zeros, stands for all that is dropped.
        let with_none = |tensor: &Tensor| Tensor::cat(&[tensor, &tensor.narrow(0, 0, 1)?.zeros_like()?], 0);
        let batch = conditions.clip.dim(0)?;
        let rows = |is_kept: &dyn Fn(&(bool, bool)) -> bool| -> Result<Tensor> {
            let none = batch as u32;
            let rows = branches.iter().flat_map(|branch| {
                let is_kept = is_kept(branch);
                (0..none).map(move |row| if is_kept { row } else { none })
            });
            Tensor::new(rows.collect::<Vec<_>>(), conditions.clip.device())
        };
        let (clip_rows, dino_rows) = (rows(&|(clip, _)| *clip)?, rows(&|(_, dino)| *dino)?);
        let conditions = CafeConditioning { clip: with_none(&conditions.clip)?, dino: with_none(&conditions.dino)? };
        let context = match self.context(&Conditioning::Cafe(conditions), Tokens::once)? {
            Context::Cafe { clip, dino } => {
                Context::Cafe { clip: clip.kept_by_row(clip_rows), dino: dino.kept_by_row(dino_rows) }
            }
            other @ Context::Text(_) => other,
        };
        Ok(Prepared { unet: self, context })
    }
}

impl Prepared<'_> {
    /// [`UNet::forward`] under these conditions: `latents` (B, C, H, W), `timesteps` (B). Returns (B, C, H, W).
    ///
    /// # Errors
    /// When shapes do not fit, or of the tensors.
    pub fn forward(&self, latents: &Tensor, timesteps: &Tensor) -> Result<Tensor> {
        self.unet.predict(latents, timesteps, &self.context)
    }

    /// The UNet.
    #[must_use]
    pub fn unet(&self) -> &UNet {
        self.unet
    }
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
