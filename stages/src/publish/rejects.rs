//! What a release did not take: `keep_rejects`.

use std::collections::HashSet;

use cafe_pipeline::stage::{Kept, Rejects, WorkContext, WorkError};
use rayon::prelude::*;

use super::config::KeepRejects;
use super::release::WriteRelease;
use super::verdicts::Verdicts;
use crate::thumbnail::Thumbnail;

/// Longest side of a thumbnail that is kept.
const SIDE_PX: u32 = 160;

impl Rejects for WriteRelease {
    fn table(&self) -> &str {
        self.config.of.table()
    }

    fn kept(&self) -> Option<Kept> {
        match self.config.keep_rejects {
            KeepRejects::Image => None,
            KeepRejects::Thumbnail => Some(Kept::Thumbnail),
            KeepRejects::Scores => Some(Kept::Scores),
        }
    }

    fn ids(&self, context: &WorkContext) -> Result<HashSet<String>, WorkError> {
        Ok(Verdicts::read(context, self.config.of)?.rejected())
    }

    fn thumbnails(&self, pictures: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        // What cannot be decoded stays, for people to look into.
        let small = |picture: &&[u8]| {
            Some(Thumbnail::new(picture, SIDE_PX).ok()?.jpeg).filter(|small| small.len() < picture.len())
        };
        pictures.par_iter().map(small).collect()
    }
}
