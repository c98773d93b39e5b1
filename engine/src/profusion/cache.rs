//! Tuned weights on disk, found again by what they were made of.
//!
//! The tuned tensors themselves are kept, not their differences from the base: base plus difference is rounded, and would
//! not be the tuned weights bit by bit.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use image::{GrayImage, RgbImage};

use super::tune::TuneSettings;
use crate::error::{EngineError, Result};
use crate::weights::{Metadata, Weights, read_metadata, save};

/// Changes whenever the same settings would make other weights.
const CODE_VERSION: &str = "1";

/// What tells a tuning from others: BLAKE3 of all that goes into it, 64 hexadecimal digits.
///
/// `base` tells the models from others: digests of weights and configs, by name.
#[must_use]
pub fn fingerprint(
    base: &BTreeMap<String, String>,
    image: &RgbImage,
    mask: Option<&GrayImage>,
    settings: &TuneSettings,
) -> String {
    let mut hasher = blake3::Hasher::new();
    // Each part with its length, so that none can run into the next.
    let mut add = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    };
    add("code", CODE_VERSION.as_bytes());
    for (name, digest) in base {
        add(name, digest.as_bytes());
    }
    let size = |(width, height): (u32, u32)| [width.to_le_bytes(), height.to_le_bytes()].concat();
    add("image size", &size(image.dimensions()));
    add("image", image.as_raw());
    if let Some(mask) = mask {
        add("mask size", &size(mask.dimensions()));
        add("mask", mask.as_raw());
    }
    let TuneSettings { n_augmentations, augment, n_iterations, batch_size, learning_rate, weight_decay, seed } =
        settings;
    add("n_augmentations", &n_augmentations.to_le_bytes());
    for number in
        [augment.degrees, augment.translate, augment.scale[0], augment.scale[1], *learning_rate, *weight_decay]
    {
        add("number", &number.to_le_bytes());
    }
    add("n_iterations", &n_iterations.to_le_bytes());
    add("batch_size", &(*batch_size as u64).to_le_bytes());
    add("seed", &seed.to_le_bytes());
    hasher.finalize().to_hex().to_string()
}

/// A folder of tuned weights.
#[derive(Clone, Debug)]
pub struct TuneCache {
    folder: PathBuf,
}

impl TuneCache {
    /// That in `folder`, which is made where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::io(folder, error))?;
        Ok(Self { folder: folder.into() })
    }

    /// Where the weights of `fingerprint` are, or would be.
    #[must_use]
    pub fn path(&self, fingerprint: &str) -> PathBuf {
        self.folder.join(format!("{fingerprint}.safetensors"))
    }

    /// The tuned tensors of `fingerprint`, if they are there.
    ///
    /// # Errors
    /// When the file is damaged, or is another's.
    pub fn find(&self, fingerprint: &str) -> Result<Option<BTreeMap<String, Tensor>>> {
        let path = self.path(fingerprint);
        match File::open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(EngineError::io(path, error)),
        }
        let metadata = read_metadata(&path)?;
        let weights = Weights::open_file(&path)?;
        let tensor = |name: String| Ok((name.clone(), weights.tensor(&name)?));
        let tensors = weights.names().into_iter().map(tensor).collect::<Result<BTreeMap<_, _>>>()?;
        let is_whole = metadata.get("fingerprint").map(String::as_str) == Some(fingerprint)
            && metadata.get("digest") == Some(&digest(&tensors, &path)?);
        if is_whole {
            return Ok(Some(tensors));
        }
        Err(EngineError::config(path, "is not what was tuned under its name: it was changed; remove it to tune again"))
    }

    /// Keeps the tuned `tensors` of `fingerprint`: written beside, synced, and given its name then.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, fingerprint: &str, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let path = self.path(fingerprint);
        let metadata = Metadata::from([
            ("format".to_owned(), "pt".to_owned()),
            ("kind".to_owned(), "profusion-tuned".to_owned()),
            ("fingerprint".to_owned(), fingerprint.to_owned()),
            ("digest".to_owned(), digest(tensors, &path)?),
        ]);
        // A name of its own: another process may tune to the same picture.
        let own = self.folder.join(format!("{fingerprint}.{}.part", std::process::id()));
        save(tensors, &metadata, &own)?;
        std::fs::rename(&own, &path).map_err(|error| EngineError::io(&path, error))?;
        // The name is on disk only when the folder is.
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| EngineError::io(&self.folder, error))
    }
}

fn digest(tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<String> {
    Ok(Weights::from_tensors(tensors.clone(), path).digest()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use image::{Luma, Rgb};

    use super::*;

    #[test]
    fn everything_that_goes_in_changes_the_fingerprint() {
        let base = BTreeMap::from([("unet".to_owned(), "a".to_owned()), ("vae".to_owned(), "b".to_owned())]);
        let image = RgbImage::from_pixel(4, 2, Rgb([1, 2, 3]));
        let mask = GrayImage::from_pixel(4, 2, Luma([255]));
        let of = |base: &BTreeMap<String, String>,
                  image: &RgbImage,
                  mask: Option<&GrayImage>,
                  settings: TuneSettings| { fingerprint(base, image, mask, &settings) };
        let usual = || TuneSettings::default();
        let mut other_base = base.clone();
        other_base.insert("vae".to_owned(), "c".to_owned());
        let turned = RgbImage::from_pixel(2, 4, Rgb([1, 2, 3]));
        let augment = |change: fn(&mut super::super::AugmentSettings)| {
            let mut augment = usual().augment;
            change(&mut augment);
            TuneSettings { augment, ..usual() }
        };
        let all = [
            of(&base, &image, None, usual()),
            of(&other_base, &image, None, usual()),
            of(&base, &turned, None, usual()),
            of(&base, &image, Some(&mask), usual()),
            of(&base, &image, None, TuneSettings { n_augmentations: 3, ..usual() }),
            of(&base, &image, None, TuneSettings { n_iterations: 3, ..usual() }),
            of(&base, &image, None, TuneSettings { batch_size: 3, ..usual() }),
            of(&base, &image, None, TuneSettings { learning_rate: 3.0, ..usual() }),
            of(&base, &image, None, TuneSettings { weight_decay: 3.0, ..usual() }),
            of(&base, &image, None, TuneSettings { seed: 3, ..usual() }),
            of(&base, &image, None, augment(|augment| augment.degrees = 3.0)),
            of(&base, &image, None, augment(|augment| augment.translate = 0.3)),
            of(&base, &image, None, augment(|augment| augment.scale = [0.6, 0.9])),
            of(&base, &image, None, augment(|augment| augment.scale = [0.7, 1.0])),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(of(&base, &image, None, usual()), all[0]);
    }

    #[test]
    fn what_was_kept_is_found_bit_by_bit_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = TuneCache::open(&folder.path().join("new")).unwrap();
        assert!(cache.find("a").unwrap().is_none());
        let numbers = Tensor::new(&[0.1_f32, -0.0, 1e-40], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("unet.x".to_owned(), numbers.clone())]);
        cache.keep("a", &tensors).unwrap();
        cache.keep("a", &tensors).unwrap();
        let bits = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&cache.find("a").unwrap().unwrap()["unet.x"]), bits(&numbers));
        let names: Vec<_> = std::fs::read_dir(cache.path("a").parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
        std::fs::copy(cache.path("a"), cache.path("b")).unwrap();
        assert!(cache.find("b").unwrap_err().to_string().contains("remove it to tune again"));
        let mut bytes = std::fs::read(cache.path("a")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(cache.path("a"), &bytes).unwrap();
        assert!(cache.find("a").unwrap_err().to_string().contains("remove it to tune again"));
        std::fs::write(cache.path("a"), &bytes[..20]).unwrap();
        assert!(cache.find("a").is_err());
    }
}
