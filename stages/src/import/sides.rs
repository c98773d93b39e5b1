//! The two pictures of a pair: read from their files, or cut out of one.

use std::path::PathBuf;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::ErrorClass;
use image::imageops;
use serde::{Deserialize, Serialize};

use super::config::{ImportConfig, ImportSource, Layout};
use crate::benchmark::Marks;
use crate::picture::{Fault, Picture};
use crate::source::{Found, LabelColumns, Reader, Source};

/// Where one picture of a pair lies, and what it was when it was scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) file: String,
    /// Row (Parquet).
    pub(super) offset: u64,
    /// Size of a file that is the picture.
    pub(super) n_bytes: Option<u64>,
}

impl Place {
    fn found(&self) -> Found {
        Found { file: self.file.clone(), offset: self.offset, n_bytes: self.n_bytes, ..Found::default() }
    }
}

/// Encoded pictures of a pair; no target where both are in one.
pub(super) struct Encoded {
    reference: Vec<u8>,
    target: Option<Vec<u8>>,
}

/// A picture of a pair, as it is kept.
pub(super) struct Side {
    /// Known by its pixels.
    pub(super) id: String,
    /// Of the file that it came in.
    pub(super) file_digest: String,
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    /// The bytes to keep: those of the file, unless the picture is another.
    pub(super) bytes: Vec<u8>,
}

/// Reads pairs.
pub(super) struct Sides {
    reference: Reader,
    target: Option<Reader>,
}

impl Sides {
    pub(super) fn new(base: PathBuf, config: &ImportConfig) -> Self {
        let reader = |source| Reader::new(base.clone(), source);
        let is_separate = config.layout == Layout::Separate;
        match &config.source {
            ImportSource::Folder { path, .. } => {
                let source = Source::Folder {
                    path: path.clone(),
                    extensions: Vec::new(),
                    metadata: None,
                    class_from_folder: false,
                    subject_from_folder: false,
                };
                Self { reference: reader(source.clone()), target: is_separate.then(|| reader(source)) }
            }
            ImportSource::Parquet { files, columns } => {
                let column = |image: String| {
                    reader(Source::Parquet { files: files.clone(), image, columns: LabelColumns::default() })
                };
                Self {
                    reference: column(columns.reference(config.layout)),
                    target: is_separate.then(|| column(columns.target())),
                }
            }
        }
    }

    /// The files of pairs: for each its reference's place, and its target's.
    pub(super) fn read(&self, places: &[(Place, Place)], config: &ImportConfig) -> Vec<Result<Encoded, Fault>> {
        let found = |place: fn(&(Place, Place)) -> &Place| {
            places.iter().map(|pair| place(pair).found()).collect::<Vec<Found>>()
        };
        let references = self.reference.read_found(&found(|pair| &pair.0), &config.limits);
        let Some(target) = &self.target else {
            let encoded = |reference| Encoded { reference, target: None };
            return references.into_iter().map(|bytes| bytes.map(encoded)).collect();
        };
        let targets = target.read_found(&found(|pair| &pair.1), &config.limits);
        let pairs = references.into_iter().zip(targets).zip(places);
        pairs
            .map(|((reference, target), (reference_place, target_place))| {
                let reference = reference.map_err(|fault| named("reference", reference_place, fault))?;
                let target = target.map_err(|fault| named("target", target_place, fault))?;
                Ok(Encoded { reference, target: Some(target) })
            })
            .collect()
    }
}

fn named(role: &str, place: &Place, fault: Fault) -> Fault {
    Fault::new(fault.class, format!("{role} {}: {}", place.file, fault.message))
}

impl Encoded {
    /// Reference and target, decoded and brought into the form in which they are kept; neither may be like what has to
    /// stay `unseen`.
    pub(super) fn sides(
        self,
        places: &(Place, Place),
        config: &ImportConfig,
        unseen: &Marks,
    ) -> Result<(Side, Side), Fault> {
        let decode = |bytes: &[u8]| Picture::decode(bytes, &config.limits, config.alpha);
        let Self { reference, target } = self;
        let Some(target) = target else {
            let both = decode(&reference)?;
            let (left, right) = halves(&both, config)?;
            unseen.check(&left).map_err(|fault| named("reference", &places.0, fault))?;
            unseen.check(&right).map_err(|fault| named("target", &places.1, fault))?;
            let digest = Digest::of(&reference).to_hex();
            return Ok((Side::new(&left, digest.clone(), Vec::new())?, Side::new(&right, digest, Vec::new())?));
        };
        let side = |role: &str, place: &Place, bytes: Vec<u8>| {
            let digest = Digest::of(&bytes).to_hex();
            let side = decode(&bytes).and_then(|picture| {
                unseen.check(&picture)?;
                Side::new(&picture, digest, bytes)
            });
            side.map_err(|fault| named(role, place, fault))
        };
        Ok((side("reference", &places.0, reference)?, side("target", &places.1, target)?))
    }
}

impl Side {
    fn new(picture: &Picture, file_digest: String, bytes: Vec<u8>) -> Result<Self, Fault> {
        Ok(Self {
            id: picture.reference_id(),
            file_digest,
            width_px: picture.pixels.width(),
            height_px: picture.pixels.height(),
            bytes: if picture.is_changed { picture.to_png()? } else { bytes },
        })
    }
}

/// The halves of a picture: a frame of `padding_px` all around, and a bar as wide between them.
fn halves(both: &Picture, config: &ImportConfig) -> Result<(Picture, Picture), Fault> {
    let (width, height) = both.pixels.dimensions();
    let padding = config.padding_px;
    let inner = width.checked_sub(padding.saturating_mul(3));
    let sides = inner.zip(height.checked_sub(padding.saturating_mul(2)));
    let smallest = config.limits.min_side_px.max(1);
    let (side_width, side_height) = match sides {
        Some((inner, side_height)) if inner % 2 == 0 && inner / 2 >= smallest && side_height >= smallest => {
            (inner / 2, side_height)
        }
        _ => {
            let message = format!(
                "{width}×{height} px do not hold two pictures of equal size, of {smallest} px at least, with a padding \
                 of {padding} px around and between them: check padding_px"
            );
            return Err(Fault::new(ErrorClass::Invalid, message));
        }
    };
    let cut = |x: u32| Picture {
        pixels: imageops::crop_imm(&both.pixels, x, padding, side_width, side_height).to_image(),
        is_changed: true,
    };
    Ok((cut(padding), cut(padding * 2 + side_width)))
}
