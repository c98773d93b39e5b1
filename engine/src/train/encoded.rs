//! Pairs as the models see them, encoded once and kept on disk: E(x), F(x~), and the VAE's latents of x~.
//!
//! A folder of shards, each a safetensors file with the rows `ROW.clip`, `ROW.dino`, `ROW.latent_mean` and
//! `ROW.latent_log_variance`. A shard that is there is whole, so that encoding goes on where it stopped; and rows are read
//! one by one through the page cache, so that the pairs may be larger than memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use image::RgbImage;

use crate::cafe::ImageEncoders;
use crate::error::{EngineError, Result};
use crate::noise::Noise;
use crate::picture::pixels;
use crate::train::DiffusionBatch;
use crate::unet::CafeConditioning;
use crate::vae::{AutoencoderKl, LatentDistribution, VaeConfig};
use crate::weights::{Metadata, Weights, read_metadata, save};

/// Pairs in a shard.
const SHARD_ROWS: usize = 64;
const FINGERPRINT: &str = "fingerprint";

/// Rows that were encoded together.
#[derive(Clone, Debug)]
pub struct EncodedRows {
    /// F(x~): (B, D_clip).
    pub clip: Tensor,
    /// E(x): (B, 1 + N, D_dino).
    pub dino: Tensor,
    /// Latents of x~, not scaled: (B, C, H, W).
    pub latents: LatentDistribution,
}

impl EncodedRows {
    /// Encodes pairs of x and x~, the latter for the VAE resized and cropped to `size_px` (height, width).
    ///
    /// # Errors
    /// When there are not as many of both, or of the tensors.
    pub fn encode(
        encoders: &ImageEncoders,
        vae: &AutoencoderKl,
        (references, targets): (&[RgbImage], &[RgbImage]),
        size_px: (u32, u32),
        device: &Device,
    ) -> Result<Self> {
        if references.len() != targets.len() {
            let (n_references, n_targets) = (references.len(), targets.len());
            return Err(EngineError::argument(format!(
                "{n_references} references and {n_targets} targets: pairs are wanted"
            )));
        }
        Ok(Self {
            clip: encoders.clip(targets)?,
            dino: encoders.dino(references)?,
            latents: vae.encode(&pixels::from_images(targets, size_px, device)?)?,
        })
    }

    /// Rows of several batches, one after the other.
    ///
    /// # Errors
    /// When they have other shapes than each other, or there are none.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let all = |part: fn(&Self) -> &Tensor| Tensor::cat(&parts.iter().map(part).collect::<Vec<_>>(), 0);
        let latents = LatentDistribution {
            mean: all(|rows| &rows.latents.mean)?,
            log_variance: all(|rows| &rows.latents.log_variance)?,
        };
        Ok(Self { clip: all(|rows| &rows.clip)?, dino: all(|rows| &rows.dino)?, latents })
    }
}

/// A folder of encoded pairs.
pub struct EncodedPairs {
    folder: PathBuf,
    n_rows: usize,
    fingerprint: String,
    shards: Vec<Option<Weights>>,
}

impl EncodedPairs {
    /// Opens `folder` for `n_rows` pairs. Shards are taken that were encoded from the same pictures by the same models, as
    /// `fingerprint` tells; others will be made anew.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, n_rows: usize, fingerprint: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::io(folder, error))?;
        let mut pairs = Self { folder: folder.into(), n_rows, fingerprint: fingerprint.to_owned(), shards: Vec::new() };
        pairs.shards = (0..n_rows.div_ceil(SHARD_ROWS)).map(|index| pairs.shard(index)).collect();
        Ok(pairs)
    }

    /// How many pairs there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// First row and number of rows of each shard that is not there yet.
    #[must_use]
    pub fn missing(&self) -> Vec<(usize, usize)> {
        let range = |index: usize| (index * SHARD_ROWS, SHARD_ROWS.min(self.n_rows - index * SHARD_ROWS));
        self.shards.iter().enumerate().filter(|(_, shard)| shard.is_none()).map(|(index, _)| range(index)).collect()
    }

    /// Writes the shard whose first row is `offset`.
    ///
    /// # Errors
    /// When rows have other shapes than each other, or the disk refuses.
    pub fn write(&mut self, offset: usize, rows: &EncodedRows) -> Result<()> {
        let index = offset / SHARD_ROWS;
        let mut tensors = BTreeMap::new();
        for row in 0..rows.clip.dim(0)? {
            for (name, tensor) in [
                ("clip", &rows.clip),
                ("dino", &rows.dino),
                ("latent_mean", &rows.latents.mean),
                ("latent_log_variance", &rows.latents.log_variance),
            ] {
                tensors.insert(format!("{}.{name}", offset + row), tensor.get(row)?.contiguous()?);
            }
        }
        let metadata = Metadata::from([(FINGERPRINT.to_owned(), self.fingerprint.clone())]);
        save(&tensors, &metadata, &self.path(index))?;
        let shard = self.shard(index);
        if let Some(place) = self.shards.get_mut(index) {
            *place = shard;
        }
        Ok(())
    }

    /// The pairs `rows` as a batch; their latents are drawn by `noise` and scaled.
    ///
    /// # Errors
    /// When a row was not encoded, or its shard is damaged.
    pub fn batch(&self, rows: &[usize], vae: &VaeConfig, noise: &Noise, device: &Device) -> Result<DiffusionBatch> {
        let stack = |name: &str| -> Result<Tensor> {
            let rows = rows.iter().map(|row| self.tensor(*row, name)).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::stack(&rows, 0)?.to_device(device)?)
        };
        let latents = LatentDistribution { mean: stack("latent_mean")?, log_variance: stack("latent_log_variance")? };
        let drawn = noise.normal(latents.mean.shape().clone(), device)?;
        Ok(DiffusionBatch {
            latents: vae.scale_latents(&latents.sample(&drawn)?)?,
            conditions: CafeConditioning { clip: stack("clip")?, dino: stack("dino")? },
        })
    }

    fn tensor(&self, row: usize, name: &str) -> Result<Tensor> {
        let shard = self.shards.get(row / SHARD_ROWS).and_then(Option::as_ref);
        let shard =
            shard.ok_or_else(|| EngineError::argument(format!("pair {row} of {} is not encoded", self.n_rows)))?;
        Ok(shard.tensor(&format!("{row}.{name}"))?)
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{index:06}.safetensors"))
    }

    /// A shard that is there, whole, and of the same pictures and models.
    fn shard(&self, index: usize) -> Option<Weights> {
        let path = self.path(index);
        let metadata = read_metadata(&path).ok()?;
        (metadata.get(FINGERPRINT) == Some(&self.fingerprint)).then(|| Weights::open_file(&path).ok())?
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::golden::assert_close;

    fn rows(n: usize, value: f32) -> EncodedRows {
        let filled = |shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        EncodedRows {
            clip: filled(&[n, 3]),
            dino: filled(&[n, 5, 2]),
            latents: LatentDistribution { mean: filled(&[n, 4, 2, 2]), log_variance: filled(&[n, 4, 2, 2]) },
        }
    }

    #[test]
    fn what_is_encoded_is_taken_again_and_what_is_of_other_models_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let n_rows = SHARD_ROWS + 3;
        let mut pairs = EncodedPairs::open(folder.path(), n_rows, "one").unwrap();
        assert_eq!(pairs.missing(), [(0, SHARD_ROWS), (SHARD_ROWS, 3)]);
        pairs.write(SHARD_ROWS, &rows(3, 2.0)).unwrap();
        assert_eq!(pairs.missing(), [(0, SHARD_ROWS)]);
        let again = EncodedPairs::open(folder.path(), n_rows, "one").unwrap();
        assert_eq!(again.missing(), [(0, SHARD_ROWS)]);
        let batch =
            again.batch(&[SHARD_ROWS + 2, SHARD_ROWS], &VaeConfig::sd2(), &Noise::new(0), &Device::Cpu).unwrap();
        assert_close("clip", &batch.conditions.clip, &Tensor::full(2.0_f32, (2, 3), &Device::Cpu).unwrap(), 0.0);
        assert_eq!((batch.latents.dims(), batch.latents.dtype()), ([2, 4, 2, 2].as_slice(), DType::F32));
        assert!(again.batch(&[0], &VaeConfig::sd2(), &Noise::new(0), &Device::Cpu).is_err());
        let other = EncodedPairs::open(folder.path(), n_rows, "two").unwrap();
        assert_eq!(other.missing().len(), 2);
    }

    #[test]
    fn a_shard_that_was_cut_short_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        EncodedPairs::open(folder.path(), 2, "one").unwrap().write(0, &rows(2, 1.0)).unwrap();
        let file = folder.path().join("000000.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
        assert_eq!(EncodedPairs::open(folder.path(), 2, "one").unwrap().missing(), [(0, 2)]);
    }
}
