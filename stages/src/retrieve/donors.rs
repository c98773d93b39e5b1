//! The w of pairs, as rows of `donors`.

use cafe_pipeline::digest::Hasher;
use cafe_pipeline::stage::ROW;
use polars::prelude::*;

use crate::tables;

/// A picture w of a pair.
pub(super) struct Donor {
    pub(super) row: u32,
    pub(super) pair_id: String,
    /// 0 is the best of its pair.
    pub(super) rank: u32,
    pub(super) score: f32,
    pub(super) licence: Option<String>,
    pub(super) of: Of,
    /// The encoded file.
    pub(super) bytes: Vec<u8>,
}

/// What tells a w from the others of its pair.
pub(super) enum Of {
    /// The seed of its noise.
    Seed(u64),
    /// The picture of an index.
    Picture(String),
}

/// What all donors of a stage have in common.
pub(super) struct Common {
    pub(super) source: &'static str,
    pub(super) weights_digest: String,
    pub(super) settings_digest: String,
}

impl Common {
    fn w_id(&self, donor: &Donor) -> String {
        let hasher = Hasher::new("donor/v1")
            .text("pair_id", &donor.pair_id)
            .text("weights_digest", &self.weights_digest)
            .text("settings_digest", &self.settings_digest);
        match &donor.of {
            Of::Seed(seed) => hasher.number("seed", *seed).row_id(),
            Of::Picture(id) => hasher.text("picture", id).row_id(),
        }
    }

    /// The table, with the row that each was made of.
    pub(super) fn table(&self, donors: &[Donor]) -> PolarsResult<DataFrame> {
        let n = donors.len();
        let same = |name: &str, value: &str| Column::new(name.into(), vec![value; n]);
        let ids: Vec<String> = donors.iter().map(|donor| self.w_id(donor)).collect();
        let seed = |donor: &Donor| match donor.of {
            Of::Seed(seed) => Some(seed),
            Of::Picture(_) => None,
        };
        let files = donors.iter().zip(&ids).map(|(donor, id)| (donor.bytes.as_slice(), format!("{id}.png")));
        let images = tables::images(files)?;
        DataFrame::new(
            n,
            vec![
                Column::new("w_id".into(), ids),
                Column::new("pair_id".into(), donors.iter().map(|one| one.pair_id.as_str()).collect::<Vec<_>>()),
                same("source", self.source),
                Column::new("rank".into(), donors.iter().map(|one| one.rank).collect::<Vec<u32>>()),
                Column::new("seed".into(), donors.iter().map(seed).collect::<Vec<Option<u64>>>()),
                same("weights_digest", &self.weights_digest),
                same("settings_digest", &self.settings_digest),
                Column::new("licence".into(), donors.iter().map(|one| one.licence.as_deref()).collect::<Vec<_>>()),
                Column::new("clip_score".into(), donors.iter().map(|one| one.score).collect::<Vec<f32>>()),
                images,
                Column::new(ROW.into(), donors.iter().map(|one| one.row).collect::<Vec<u32>>()),
            ],
        )
    }
}
